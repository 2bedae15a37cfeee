"""What a phone or board says of itself, asked with one command.

Whatever it answers is taken for what it is, text from a stranger: each value is bounded, checked against what it can
be, and free of what a terminal would obey; what makes no sense counts as not said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgesparse.devices.cores import CORES, UNKNOWN_FMA_WIDTH
from edgesparse.runtimes import adb, ssh
from edgesparse.runtimes.device import Link, answer, printable

LONGEST_ANSWER_BYTES, LONGEST_NAME, MOST_CPUS = 1 << 20, 80, 1024
HOTTEST_C = 150  # above it, a thermal zone does not tell a temperature
PROPERTIES = {
    "model": "ro.product.model", "soc": "ro.soc.model", "platform": "ro.board.platform",
    "hardware": "ro.hardware", "abi": "ro.product.cpu.abi", "android": "ro.build.version.release",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AttachedCluster:
    """Cores of one type and clock. ``core`` is a name, or numbers where nobody here knows it; caches in kB per core."""

    core: str
    cpus: tuple[int, ...]
    max_ghz: float | None
    fma_width: int | None
    l1d_kb: int | None = None
    l2_kb: int | None = None
    l3_kb: int | None = None

    @property
    def count(self) -> int:
        return len(self.cpus)


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """``names``: all by which it may be known, lower case. ``abi`` is Android's, or what `uname -m` prints; ``hwcap``
    as in /proc/cpuinfo; ``clusters`` fastest first. "" and None: it does not say.
    """

    model: str = ""
    soc: str = ""
    names: tuple[str, ...] = ()
    abi: str = ""
    android: str = ""
    kernel: str = ""
    hwcap: tuple[str, ...] = ()
    clusters: tuple[AttachedCluster, ...] = ()
    page_bytes: int | None = None
    free_bytes: int | None = None
    temperature_c: float | None = None
    battery_percent: int | None = None

    @property
    def architecture(self) -> str:
        """As the triple of a target begins: aarch64, x86_64, or what nobody here compiles for."""
        return adb.ARCHITECTURES.get(self.abi) or ssh.ARCHITECTURES.get(self.abi, self.abi)


def machine_facts(link: Link) -> MachineFacts:
    """Ask a device. Raises RuntimeFailure where it does not answer."""
    return parse_facts(answer(link, _question(link.disk)))


def _question(disk: str) -> str:
    """One line for the sh of Android or of a board. It prints lines whose first word says what follows."""
    cpu = "cpufreq/cpuinfo_max_freq cpu_capacity regs/identification/midr_el1"
    return "; ".join([
        "exec 2>/dev/null", *(f'echo "{key} $(getprop {name})"' for key, name in PROPERTIES.items()),
        r"""echo "board $(tr -d '\0' </proc/device-tree/model)" """,
        r"""echo "compatible $(tr '\0' ' ' </proc/device-tree/compatible)" """,
        'echo "machine $(uname -m)"', 'echo "kernel $(uname -sr)"', 'echo "page $(getconf PAGESIZE)"',
        'echo "smaps $(grep -m 1 KernelPageSize /proc/self/smaps)"', f'echo "disk $(df -Pk {disk} | tail -n 1)"',
        "grep -iE '^(processor|features|flags|model name|cpu (implementer|part))' /proc/cpuinfo | sed 's/^/cpuinfo /'",
        f"for c in /sys/devices/system/cpu/cpu[0-9]*; do n=${{c##*/cpu}}; for f in {cpu}; do "
        'read -r x <$c/$f && echo "cpu $n $f $x"; done; for i in $c/cache/index*; do '
        'read -r l <$i/level && read -r t <$i/type && read -r s <$i/size && echo "cache $n $l $t $s"; done; done',
        'for z in /sys/class/thermal/thermal_zone*; do read -r x <$z/temp && echo "temperature $x"; done',
        'for b in /sys/class/power_supply/*; do read -r t <$b/type && [ "$t" = Battery ] && '
        'read -r x <$b/capacity && echo "battery $x"; done',
        'echo "dumpsys $(dumpsys battery | grep -m 1 level:)"', "true",
    ])  # fmt: skip


def parse_facts(answer: bytes) -> MachineFacts:
    """What the answer to the question says, from whomever; never raises."""
    said: dict[str, list[str]] = {}
    for line in answer[:LONGEST_ANSWER_BYTES].splitlines():
        key, _, value = printable(line, 2000).partition(" ")
        said.setdefault(key, []).append(value.strip())
    one = {key: values[0][:LONGEST_NAME] for key, values in said.items()}
    compatible = said.get("compatible", [""])[0].split()
    chip = compatible[-1].rpartition(",")[2][:LONGEST_NAME] if compatible else ""
    soc = one.get("soc") or chip or one.get("platform") or one.get("hardware") or ""
    model = one.get("model") or one.get("board") or ""
    names = (model, soc, *(one.get(key, "") for key in ("platform", "hardware", "board")), chip)
    page_kb = _number(one.get("smaps", "").removeprefix("KernelPageSize:").removesuffix("kB"), 1, 1 << 20)
    _, free_kb, *_ = ["", *said.get("disk", [""])[0].split()[-3:], ""]  # free, share, and where
    free = _number(free_kb, 0, 1 << 50)
    return MachineFacts(
        model, soc, tuple(dict.fromkeys(name.lower() for name in names if name)),
        one.get("abi") or one.get("machine") or "", one.get("android", ""), one.get("kernel", ""), _hwcap(said),
        _clusters(list(_cpus(said))),
        _number(one.get("page", ""), 1024, 1 << 30) or (page_kb * 1024 if page_kb else None),
        None if free is None else free * 1024,
        _hottest(said.get("temperature", ())),
        _number(one.get("battery") or one.get("dumpsys", "").removeprefix("level:"), 0, 100),
    )  # fmt: skip


@dataclass(slots=True)
class _Cpu:
    number: int
    implementer: int | None = None
    part: int | None = None
    model: str = ""
    khz: int | None = None
    capacity: int = 0
    caches: dict[str, int] = field(default_factory=dict)  # kB, by level and type

    @property
    def kind(self) -> tuple[object, ...]:
        return self.implementer, self.part, self.model, self.khz, self.capacity


def _cpus(said: Mapping[str, Sequence[str]]) -> Iterator[_Cpu]:
    """By number: from /proc/cpuinfo, which has only those that are on, and from /sys."""
    found: dict[int, _Cpu] = {}

    def cpu(text: str) -> _Cpu:
        number = _number(text, 0, MOST_CPUS - 1)
        return _Cpu(-1) if number is None else found.setdefault(number, _Cpu(number))

    current = _Cpu(-1)  # what belongs to no CPU ends up in one that nobody looks at
    for line in said.get("cpuinfo", ()):
        name, _, value = map(str.strip, line.partition(":"))
        if name == "processor":
            current = cpu(value)
        elif name == "CPU implementer":
            current.implementer = _number(value, 0, 0xFF)
        elif name == "CPU part":
            current.part = _number(value, 0, 0xFFF)
        elif name == "model name":
            current.model = value[:LONGEST_NAME]
    for line in said.get("cpu", ()):
        number, file, value, *_ = [*line.split(), "", "", ""]
        current, what = cpu(number), file.rpartition("/")[2]
        if what == "cpuinfo_max_freq":
            current.khz = _number(value, 1000, 9_999_999)
        elif what == "cpu_capacity":
            current.capacity = _number(value, 0, 1 << 16) or 0
        elif what == "midr_el1" and current.part is None and (midr := _number(value, 0, 1 << 64)):
            current.implementer, current.part = midr >> 24 & 0xFF, midr >> 4 & 0xFFF
    for line in said.get("cache", ()):
        number, level, kind, size, *_ = [*line.split(), "", "", "", ""]
        if (kb := _number(size.removesuffix("K"), 1, 1 << 20)) and kind != "Instruction":
            cpu(number).caches[level] = kb
    yield from (found[number] for number in sorted(found))


def _clusters(cpus: Sequence[_Cpu]) -> tuple[AttachedCluster, ...]:
    """Those that are off may tell nothing, and are left out unless all are so."""
    kinds: dict[tuple[object, ...], list[_Cpu]] = {}
    for cpu in [x for x in cpus if x.part is not None or x.khz or x.model] or cpus:
        kinds.setdefault(cpu.kind, []).append(cpu)
    found = []
    for same in kinds.values():
        one, core = same[0], None
        name = one.model or "unknown"
        if one.implementer is not None and one.part is not None:
            core = CORES.get((one.implementer, one.part))
            name = core.name if core else f"{one.implementer:#04x}/{one.part:#05x}"
        ghz, width = (one.khz / 1e6 if one.khz else None), (core.fma_width if core else None)
        speed = (one.capacity, (ghz or 0.0) * (width or UNKNOWN_FMA_WIDTH))
        l1d, l2, l3 = (one.caches.get(level) for level in "123")
        cluster = AttachedCluster(
            name, tuple(x.number for x in same), round(ghz, 3) if ghz else None, width, l1d, l2, l3
        )
        found.append((speed, cluster))
    return tuple(cluster for _, cluster in sorted(found, key=lambda pair: pair[0], reverse=True))


def _hwcap(said: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Of the first CPU that tells: Linux gives all of them what every one has."""
    for line in said.get("cpuinfo", ()):
        name, _, value = line.partition(":")
        if name.strip().lower() in ("features", "flags"):
            return tuple(re.findall(r"(?<!\S)[a-z0-9_.]{1,32}(?!\S)", value))
    return ()


def _hottest(zones: Sequence[str]) -> float | None:
    """Of all thermal zones, in degrees Celsius. They count thousandths, but some have always counted whole degrees."""
    counts = [n for n in (_number(zone, 1, HOTTEST_C * 1000) for zone in zones) if n is not None]
    if any(n >= 1000 for n in counts):
        return max(counts) / 1000
    return float(max(counts)) if counts and max(counts) <= HOTTEST_C else None


def _number(text: str, low: int, high: int) -> int | None:
    """Decimal, or with 0x; None where it is none, or out of bounds."""
    text = text.strip()
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,18}", text, re.ASCII):
        return None
    number = int(text, 16) if text[:2] in ("0x", "0X") else int(text)
    return number if low <= number <= high else None
