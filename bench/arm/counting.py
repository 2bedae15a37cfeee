"""Executed instructions of an arm64 program: qemu-aarch64 with the plugin count.c."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgesparse.build import compiler_version, zig
from edgesparse.errors import RuntimeFailure
from edgesparse.places import cache_dir
from edgesparse.workspace import workspace

PLUGIN_C = Path(__file__).parent / "count.c"
CPU = "cortex-a76"
TIMEOUT_S = 1800.0
FEW, MANY = 1, 3
"""Inferences of the two runs whose difference is counted: starting up, reading files and so on cancels out."""
_INSTALL = "apt-get install qemu-user (qemu-user-static takes no plugins), or set $QEMU to a qemu-aarch64 that does"


@dataclass(frozen=True, slots=True)
class LayerCalls:
    """What was executed from a call of the function at ``address`` to the next layer's, over all ``calls``."""

    address: int
    instructions: int
    calls: int


@dataclass(frozen=True, slots=True)
class Executed:
    """``instructions`` of a whole run; ``layers`` in the order of their calls, where that was asked for."""

    instructions: int
    layers: tuple[LayerCalls, ...]


@cache
def emulator() -> tuple[str, int]:
    """Path and major version of a qemu-aarch64 that takes plugins ($QEMU, else the one in $PATH).

    Raises:
        RuntimeFailure: there is none.
    """
    chosen = os.environ.get("QEMU", "qemu-aarch64")
    path = shutil.which(chosen)
    if path is None:
        raise RuntimeFailure(f"{chosen} is not installed", where="counting executed instructions", hint=_INSTALL)
    text = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.", text)
    words = subprocess.run([path, "-help"], capture_output=True, text=True, check=False).stdout
    if found is None or "-plugin" not in words:
        raise RuntimeFailure("this qemu-aarch64 takes no plugins", where=path, hint=_INSTALL)
    return path, int(found[1])


@cache
def plugin() -> Path:
    """count.c as a shared library of this machine, compiled once per compiler and version of QEMU's interface."""
    version = 1 if emulator()[1] < 9 else 2
    key = hashlib.sha256(f"{compiler_version()} {version} {PLUGIN_C.read_text()}".encode()).hexdigest()[:16]
    out = cache_dir() / "bench" / f"count-{key}.so"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        with workspace(out.parent) as scratch:
            flags = ["-O2", "-g0", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
            zig("cc", [*flags, f"-DPLUGIN_VERSION={version}", PLUGIN_C, "-o", scratch / "count.so"], scratch)
            os.replace(scratch / "count.so", out)
    return out


def run(
    command: Sequence[str | Path], *, options: Sequence[str] = (), environment: Mapping[str, str] | None = None,
    layers: int = 0, entries: Sequence[int] = (), timeout_s: float = TIMEOUT_S, cpu: str = CPU,
) -> Executed:  # fmt: skip
    """Run an arm64 ``command`` in an empty environment (or ``environment``) and count.

    ``options`` are qemu's, ``cpu`` its name of a core. ``layers``, and the addresses ``entries`` of their functions, as
    count.c explains.

    Raises:
        RuntimeFailure: the program failed, with its last words.
    """
    path, _ = emulator()
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        counts = Path(folder, "counts.txt")
        given = ",".join([str(plugin()), f"out={counts}", f"layers={layers}", *(f"entry={a:#x}" for a in entries)])
        line = [path, "-cpu", cpu, *options, "-plugin", given, *map(str, command)]
        try:
            done = subprocess.run(
                line, env=dict(environment or {}), capture_output=True, text=True, errors="replace",
                stdin=subprocess.DEVNULL, timeout=timeout_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise RuntimeFailure(
                f"did not finish within {timeout_s:g} s under the emulator", where=str(command[0]),
                hint="give a smaller model",
            ) from error  # fmt: skip
        if done.returncode != 0 or not counts.exists():
            words = (done.stderr or done.stdout).strip()[-2000:]
            raise RuntimeFailure(
                f"failed under the emulator (exit code {done.returncode}): {words or 'it said nothing'}",
                where=str(command[0]), hint=f"run it by hand: {' '.join(line)}",
            )  # fmt: skip
        return _parse(counts.read_text())


def _parse(text: str) -> Executed:
    total, layers = 0, []
    for line in text.splitlines():
        kind, *fields = line.split()
        if kind == "block":
            total += int(fields[1]) * int(fields[2])
        else:
            layers.append(LayerCalls(int(fields[1], 16), int(fields[2]), int(fields[3])))
    return Executed(total, tuple(layers))


def per_inference(runs: Callable[[int], Executed]) -> tuple[float, tuple[float, ...]]:
    """Instructions per inference, of everything and of each layer. ``runs(n)`` runs the program with n inferences."""
    few, many = runs(FEW), runs(MANY)
    layers = (m.instructions - f.instructions for f, m in zip(few.layers, many.layers, strict=True))
    return (many.instructions - few.instructions) / (MANY - FEW), tuple(n / (MANY - FEW) for n in layers)
