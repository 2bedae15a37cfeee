"""The phones and boards that are attached, and the `Device` that one of them is to compile for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.machine_facts import MachineFacts, machine_facts
from edgesparse.runtimes import adb, ssh
from edgesparse.runtimes.device import Link, printable

__all__ = ["AttachedDevice", "MachineFacts", "attached_devices", "connect", "machine_facts"]

READY = "ready"


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
    program = adb.adb_program()
    listed = adb.settled_devices(program)
    if not listed:
        raise adb.no_device()
    found = []
    for number, one in enumerate(listed):
        if on_progress is not None:
            on_progress(number, len(listed), printable(one.serial))
        found.append(_of_adb(program, one))
    return found


def _of_adb(program: str, listed: adb.Listed) -> AttachedDevice:
    serial = printable(listed.serial)
    state, fix, facts = READY, "", None
    if listed.state != "device":
        state, fix = map(printable, adb.not_ready(listed))
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
