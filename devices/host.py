"""This machine as a `Device`: cores and caches as Linux reports them in /proc and /sys."""

from __future__ import annotations

import platform
import re
from collections import Counter
from pathlib import Path

from edgesparse.devices.device import Cluster, Device, Memory
from edgesparse.errors import RuntimeFailure

# glibc 2.17 (2012) is the oldest any machine still in use has
TARGETS = {
    "x86_64": ("x86_64-linux-gnu.2.17", ("avx512", "avx2", "sse2")),
    "aarch64": ("aarch64-linux-gnu.2.17", ("neon",)),
}


def host(root: Path = Path("/"), machine: str | None = None) -> Device:
    """Describe this machine; on x86 the kernels for AVX-512, AVX2 or SSE are chosen when the bundle runs.

    ``root`` and ``machine`` stand in for another machine in tests.

    Raises:
        RuntimeFailure: neither x86_64 nor aarch64 Linux (exit code 4).
    """
    machine = machine or platform.machine()
    system = platform.system()
    if machine not in TARGETS or system != "Linux":
        raise RuntimeFailure(
            f"device host: no kernels for this machine ({machine}, {system})",
            hint="host is x86_64 or aarch64 Linux; --device rpi5, browser, ... are compiled on any machine",
        )
    triple, isas = TARGETS[machine]
    info = _read(root / "proc/cpuinfo")
    flags = _field(info, "flags") or _field(info, "Features")
    found = set(flags.split())
    # as the other devices call it: halves in scalar and in vector instructions
    features = tuple(sorted((found & _INTERESTING) | ({"fp16"} if {"fphp", "asimdhp"} <= found else set())))
    title = _field(info, "model name") or machine
    return Device(
        name="host", title=f"this machine ({title})", kind="shared", triple=triple, isas=isas, features=features,
        cluster=_clusters(root, info, title, _fma_width(machine, features)),
        memory=Memory(source="not read from the machine"),
    )  # fmt: skip


_INTERESTING = frozenset(
    "sse4_1 avx avx2 fma f16c avx512f avx512vl avx512_vnni avx512_bf16 avx512_fp16 avx_vnni amx_int8 amx_bf16 "
    "asimd asimddp asimdhp fphp i8mm bf16 sve sve2".split()
)


def _fma_width(machine: str, features: tuple[str, ...]) -> int:
    """Lanes per cycle, an estimate from the flags: two vector units, on AVX-512 of 256 bits at least."""
    if machine == "x86_64":
        return 16 if "fma" in features else 4
    return 8


def _clusters(root: Path, info: str, core: str, fma_width: int) -> tuple[Cluster, ...]:
    """Cores with equal top speed and caches are one cluster; fastest first."""
    cpus = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*"))
    mhz = [float(m) for m in re.findall(r"^cpu MHz\s*:\s*([0-9.]+)", info, re.M)]
    kinds: Counter[tuple[float | None, int | None, int | None, int | None]] = Counter()
    for cpu in cpus:
        khz = _read(cpu / "cpufreq/cpuinfo_max_freq").strip()
        ghz = round(float(khz) / 1e6, 2) if khz else round(max(mhz) / 1000, 2) if mhz else None
        kinds[(ghz, _cache_kb(cpu, 1), _cache_kb(cpu, 2), _cache_kb(cpu, 3))] += 1
    if not kinds:
        kinds[(None, None, None, None)] = 1
    return tuple(
        Cluster(
            core=core, count=count, max_ghz=ghz or None, fma_width=fma_width, l1d_kb=l1, l2_kb=l2, l3_kb=l3,
            source="detected from /proc/cpuinfo and /sys; fma_width is an estimate from the CPU's flags",
        )
        for (ghz, l1, l2, l3), count in sorted(kinds.items(), key=lambda item: -(item[0][0] or 0.0))
    )  # fmt: skip


def _cache_kb(cpu: Path, level: int) -> int | None:
    for index in sorted((cpu / "cache").glob("index*")):
        if _read(index / "level").strip() == str(level) and _read(index / "type").strip() != "Instruction":
            size = re.fullmatch(r"([0-9]+)K", _read(index / "size").strip())
            return int(size[1]) if size else None
    return None


def _field(info: str, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.+)$", info, re.M)
    return found[1].strip() if found else ""


def _read(path: Path) -> str:
    """What the kernel says, or "" where it says nothing: every file here is optional in a container."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
