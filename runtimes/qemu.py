"""Runs the program of a bundle under qemu's user-mode emulation; on a machine of its own kind directly."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import tempfile
from contextlib import ExitStack
from pathlib import Path

from edgesparse.errors import RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.runtimes.files import read_verified
from edgesparse.runtimes.program import DEFAULT_TIMEOUT_S, ProgramSession
from edgesparse.runtimes.session import thread_count
from edgesparse.workspace import workspace

KINDS = ("executable",)
PROGRAM, WEIGHTS = "model", "weights.bin"


def open(bundle: Path, manifest: Manifest, *, threads: int = 1, timeout_s: float = DEFAULT_TIMEOUT_S) -> QemuSession:
    """Find the emulator ($QEMU, or for arm64 qemu-aarch64-static and qemu-aarch64).

    Args:
        threads: how many run the model; 0: one for each CPU this process may use.
        timeout_s: the longest that one call of the program may take.

    Raises:
        RuntimeFailure: no emulator, or the bundle is damaged.
        InputError: more threads than CPUs.
    """
    threads = thread_count(threads, len(os.sched_getaffinity(0)))
    architecture = manifest.triple.split("-")[0]
    emulator = None if platform.machine() == architecture else _emulator(bundle, architecture)
    for name in (PROGRAM, WEIGHTS) if manifest.weights_bytes else (PROGRAM,):
        read_verified(bundle, manifest, name)
    return QemuSession(bundle, manifest, emulator, threads, timeout_s)


class QemuSession(ProgramSession):
    """Right answers; the time an emulator takes says nothing about a device."""

    OWN_PROGRAM = True

    def __init__(self, bundle: Path, manifest: Manifest, emulator: str | None, threads: int, timeout_s: float) -> None:
        self._held = ExitStack()
        program = bundle / PROGRAM
        if not os.access(program, os.X_OK):  # lost on the way: a zip file, a download
            folder = self._held.enter_context(workspace(Path(tempfile.gettempdir())))
            program = Path(shutil.copy(program, folder))
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        machine = {"runtime": "qemu", "emulator": emulator or "none", "cpu": platform.machine()}
        machine["threads"] = str(threads)
        machine["timing"] = "emulated, not a device timing" if emulator else "native"
        # Absolute: a program without a slash in its name would be looked for in $PATH.
        command = [*([emulator] if emulator else []), str(program.absolute()), "--weights", str(bundle / WEIGHTS)]
        command += ["--threads", str(threads)]
        super().__init__(bundle, manifest, machine, command, timeout_s=timeout_s)

    def close(self) -> None:
        self._held.close()


def _emulator(bundle: Path, architecture: str) -> str:
    chosen, name = os.environ.get("QEMU"), f"qemu-{architecture}"
    for program in [chosen] if chosen else [f"{name}-static", name]:
        if path := shutil.which(program):
            return path
    kind = {"aarch64": "arm64"}.get(architecture, architecture)
    raise RuntimeFailure(
        f"$QEMU is {chosen}, which is not a program" if chosen else f"the {kind} emulator {name} is not installed",
        where=str(bundle), hint="apt-get install qemu-user-static, or set $QEMU to where it is",
    )  # fmt: skip
