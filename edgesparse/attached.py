"""The phones and boards that are attached, and the `Device` that one of them is to compile for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from edgesparse.devices import Cluster, Device, known_devices, load_device
from edgesparse.devices.cores import UNKNOWN_FMA_WIDTH
from edgesparse.devices.device import Memory
from edgesparse.devices.measured import as_measured
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.machine_facts import MachineFacts, machine_facts
from edgesparse.runtimes import adb, adb_client, ssh
from edgesparse.runtimes.device import Link, printable

__all__ = ["AttachedDevice", "MachineFacts", "attached_devices", "auto_device", "connect", "detect", "machine_facts"]

READY = "ready"
AUTO = "auto"
KERNELS = {
    "aarch64": ("aarch64-linux-musl", ("neon",)),
    "x86_64": ("x86_64-linux-musl", ("avx512", "avx2", "sse2")),
}
"""Triple and instruction sets of what is compiled for a device that describes itself, by its architecture."""
BROWSERS = ("node", "chromium", "firefox", "wasmtime")


@dataclass(frozen=True, slots=True)
class AttachedDevice:
    """``runtime`` is how `--runtime` calls it; ``state`` is ready, or why it is not, and then ``fix`` what to do."""

    runtime: str
    serial: str
    state: str
    fix: str = ""
    facts: MachineFacts | None = None


def attached_devices(
    runtime: str = "adb", on_progress: Callable[[int, int, str], None] | None = None
) -> list[AttachedDevice]:
    """Every device that adb lists, or the one that ``runtime`` names: ``adb:SERIAL``, ``ssh:USER@HOST``.

    Raises:
        RuntimeFailure: no adb, or no device; or the one that was named cannot be used.
        InputError: a runtime without devices.
    """
    if runtime != "adb":
        link = connect(runtime)
        try:
            return [AttachedDevice(runtime, printable(runtime.partition(":")[2]), READY, "", machine_facts(link))]
        finally:
            link.close()
    program = adb_client.adb_program()
    listed = adb_client.settled_devices(program)
    if not listed:
        raise adb_client.no_device()
    found = []
    for number, one in enumerate(listed):
        if on_progress is not None:
            on_progress(number, len(listed), printable(one.serial))
        found.append(_of_adb(program, one))
    return found


def _of_adb(program: str, listed: adb_client.Listed) -> AttachedDevice:
    serial = printable(listed.serial)
    state, fix, facts = READY, "", None
    if listed.state != "device":
        state, fix = map(printable, adb_client.not_ready(listed))
    else:
        try:
            facts = machine_facts(adb.AdbLink(program, listed.serial))
        except RuntimeFailure as error:
            state, fix = error.what, error.hint
    return AttachedDevice(f"adb:{serial}", serial, state, fix, facts)


def connect(runtime: str) -> Link:
    """The device that ``adb``, ``adb:SERIAL`` or ``ssh:USER@HOST[:PORT]`` names.

    Raises:
        RuntimeFailure: it cannot be reached.
        InputError: a runtime without devices.
    """
    name, _, target = runtime.partition(":")
    if name == "adb":
        return adb.connect(target)
    if name == "ssh":
        return ssh.connect(target)
    raise InputError(
        f"the runtime {runtime} has no devices", where="--runtime", hint="adb, adb:SERIAL, or ssh:USER@HOST[:PORT]"
    )


def auto_device(runtime: str) -> Device:
    """What `--device auto` is with that runtime: this machine, a browser, or what the attached device says it is.

    Raises:
        RuntimeFailure: the device cannot be reached, or no kernels are for its CPU.
        InputError: the runtime fits several devices.
    """
    name = runtime.partition(":")[0]
    if name in ("adb", "ssh"):
        link = connect(runtime)
        try:
            return detect(link)
        finally:
            link.close()
    if name in BROWSERS:
        return load_device("browser")
    if name == "qemu":
        raise InputError(
            "qemu is any arm64 device", where="--device auto", hint="say which: --device rpi5, pixel-8, .."
        )
    return load_device("host")


def detect(link: Link) -> Device:
    """The device of `devices/` that this one says it is, or has the SoC of; else one made of what it says.

    Raises:
        RuntimeFailure: it does not answer, or no kernels are for its CPU.
    """
    facts = machine_facts(link)
    if facts.architecture not in KERNELS:
        raise RuntimeFailure(
            f"there are no kernels for {facts.abi or 'a CPU that it does not tell'}", where=link.description,
            hint=f"there are for Linux and Android on {' and '.join(KERNELS)}",
        )  # fmt: skip
    return known_device(facts) or as_measured(described_device(facts))


def known_device(facts: MachineFacts) -> Device | None:
    """By its model; where nobody knows that, by its SoC, which has the same cores."""
    every = [load_device(name) for name in known_devices() if name != "host"]
    files = [device for device in every if device.triple.startswith(f"{facts.architecture}-")]
    by_name = {text.lower(): device for device in reversed(files) for text in device.matches}
    models = [text for text in by_name if f"{facts.model} ".lower().startswith(f"{text} ")]
    if models:
        return by_name[max(models, key=len)]
    same_soc = next((by_name[name] for name in facts.names if name in by_name), None)
    if same_soc is None:
        return None
    return same_soc.model_copy(update={"title": f"{facts.model or 'a device'} with the SoC of {same_soc.title}"})


def described_device(facts: MachineFacts) -> Device:
    """As the device describes itself; what it cannot tell is an estimate by the types of its cores.

    Its ``architecture`` is one of `KERNELS`.
    """
    (triple, isas), features = KERNELS[facts.architecture], _features(facts.hwcap)
    assumed = 8 if "avx2" in features else UNKNOWN_FMA_WIDTH
    source = "estimate: core, clock and caches as the device tells them, fma_width by the type of core"
    unknown = "estimate: nothing is known of this type of core, its fma_width is assumed"
    clusters = [
        Cluster(
            core=c.core, count=c.count, max_ghz=c.max_ghz, fma_width=c.fma_width or assumed, l1d_kb=c.l1d_kb,
            l2_kb=c.l2_kb, l3_kb=c.l3_kb, source=source if c.fma_width else unknown,
        )
        for c in facts.clusters
    ]  # fmt: skip
    words = " ".join(re.findall("[a-z0-9]+", facts.model.lower(), re.ASCII)) or "device"
    return Device(
        name=f"detected-{words[:40].strip().replace(' ', '-')}",
        title=f"{facts.model or 'an attached device'}{f' ({facts.soc})' if facts.soc else ''}, as it describes itself",
        kind="executable", triple=triple, isas=isas, features=features,
        cluster=tuple(clusters) or (Cluster(core="unknown", count=1, fma_width=assumed, source=unknown),),
        memory=Memory(source="unknown: no device tells it"),
    )  # fmt: skip


def _features(hwcap: tuple[str, ...]) -> tuple[str, ...]:
    """As the files in devices/ call them; fp16 is halves in scalar and in vector instructions."""
    found = {
        "fp16": {"fphp", "asimdhp"}, "dotprod": {"asimddp"}, "i8mm": {"i8mm"}, "bf16": {"bf16"},
        "avx2": {"avx2", "fma"}, "avx512vl": {"avx512vl"},
    }  # fmt: skip
    return tuple(name for name, needed in found.items() if needed <= set(hwcap))
