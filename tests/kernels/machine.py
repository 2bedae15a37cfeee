"""Compiles kernels into test programs and runs them: natively, under qemu, in wasmtime.

A program holds every kernel of one stem and architecture. All buffers lie against unreadable memory
(see runner.c); in WebAssembly, which has no such pages, each buffer in turn ends where memory ends.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgesparse import build, places
from edgesparse.kernels import ISAS, table
from edgesparse.runtimes.c import FOLDER, HWCAP_SOURCES, PROGRAM_SOURCES
from edgesparse.types import Kernel, Target

INPUT, OUTPUT, SCRATCH, BOTH = range(4)
PLACEMENTS = ("before unreadable memory", "behind unreadable memory")
RUNNER = Path(__file__).parent / "runner.c"
TARGETS = {
    "x86_64": Target("host", "shared", "x86_64-linux-gnu.2.17", ("sse2",)),
    "aarch64": Target("arm64", "executable", "aarch64-linux-musl", ("neon",)),
    "wasm32": Target("wasm", "wasm", "wasm32-freestanding", ("simd128",)),
}
_CANARY_BYTES = 64
_MESSAGES = {1: "an input was changed", 2: "memory outside of the buffer was written"}


@dataclass(frozen=True)
class Buffer:
    """``data`` is what it holds before the call; None stands for ``size_bytes`` times 0xff."""

    name: str
    kind: int
    size_bytes: int
    data: bytes | None = None


@dataclass(frozen=True)
class Argument:
    """A 64-bit word, or the number of a buffer whose address is passed."""

    value: int
    is_buffer: bool = False


@dataclass(frozen=True)
class Run:
    """Calls of kernels, one after the other, on the same buffers."""

    buffers: tuple[Buffer, ...]
    calls: tuple[tuple[Kernel, tuple[Argument, ...]], ...]


@dataclass(frozen=True)
class Outcome:
    """One placement of one run: what went wrong (or ""), and the OUTPUT and BOTH buffers by name."""

    placement: str
    problem: str
    outputs: dict[str, bytes]


@cache
def unavailable(isa: str) -> str:
    """Why kernels of ``isa`` cannot run here; "" when they can."""
    architecture = ISAS[isa].architecture
    if architecture == "wasm32":
        try:
            import wasmtime  # noqa: F401
        except ImportError:
            return "wasmtime is missing: pip install wasmtime"
        return ""
    if architecture == "aarch64" and platform.machine() != "aarch64":
        return "" if _emulator() else "qemu-aarch64 is missing: apt-get install qemu-user-static"
    if architecture != platform.machine():
        return f"{isa} kernels are for {architecture}, this machine is {platform.machine()}"
    has = subprocess.run([str(program("", architecture)), "--has", isa], check=False)
    return "" if has.returncode == 0 else f"this CPU has no {isa}"


def _emulator() -> str | None:
    names = (os.environ.get("QEMU", ""), "qemu-aarch64-static", "qemu-aarch64")
    return next((path for path in map(shutil.which, names) if path), None)


EXTRA: list[Kernel] = []
"""Kernels that only tests have."""


WASM_SETTINGS = {"wasm_simd": True, "wasm_relaxed_simd": True}
"""Of the engine of WebAssembly, by the name that wasmtime.Config has for them."""


def kernels_of(stem: str, architecture: str) -> tuple[Kernel, ...]:
    return tuple(k for k in (*table(), *EXTRA) if k.stem == stem and ISAS[k.isa].architecture == architecture)


@cache
def program(stem: str, architecture: str) -> Path:
    """The test program (or module) with all kernels of ``stem``, compiled once per content."""
    target, kernels = TARGETS[architecture], kernels_of(stem, architecture)
    base = ISAS[target.isas[0]].flags
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        objects = list(pool.map(lambda k: build.kernel_object(k, target), kernels))
    # isa.h and start.h are not next to runner.c, so that included_text cannot see them: they are in the key here.
    beside = ("isa.h", "start.h", "sys.h", "hwcap.c")
    text = "".join((FOLDER / name).read_text() for name in beside) + RUNNER.read_text()
    key = hashlib.sha256("\0".join([build.compiler_version(), text, _adapter(kernels), *map(str, objects)]).encode())
    out = places.cache_dir() / "tests" / f"{stem or 'none'}-{architecture}-{key.hexdigest()[:24]}"
    if out.exists():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-target", target.triple, *build.COMMON_FLAGS, "-fno-builtin", *base, f"-I{FOLDER}"]
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        work = Path(folder)
        (work / "adapter.c").write_text(_adapter(kernels))
        wasm = architecture == "wasm32"
        sources = [work / "adapter.c", FOLDER / "memory.c"]
        if not wasm:
            sources += [RUNNER, *(s for s in PROGRAM_SOURCES if s.name == "start.c")]
            sources += HWCAP_SOURCES if architecture == "aarch64" else ()
        made = []
        for source in sources:
            made.append(work / f"{source.stem}.o")
            build.zig("cc", [*flags, "-c", source, "-o", made[-1]], work)
        link: list[str | Path] = ["-target", target.triple, "-nostdlib", "-s", *base, *objects, *made]
        if wasm:
            exports = [f"-Wl,--export={name}" for name in ("es_test_call", "__heap_base")]
            link += ["-mrelaxed-simd", "-Wl,--no-entry", "-Wl,-z,stack-size=131072", *exports]
        else:
            link += ["-static"]
        build.zig("cc", [*link, "-o", work / "program"], work)
        os.replace(work / "program", out)
    return out


def _adapter(kernels: Sequence[Kernel]) -> str:
    """C that calls kernel number n with arguments from an array of 64-bit words."""
    lines = ["#include <stdint.h>", "static inline float number(uint64_t bits) {"]
    lines += ["  union { uint32_t u; float f; } v = {(uint32_t)bits};", "  return v.f;", "}"]
    cases = []
    for index, kernel in enumerate(kernels):
        types = ", ".join(kind for kind, _ in kernel.parameters)
        lines.append(f"void {kernel.symbol}({types});")
        values = [
            f"({kind})(uintptr_t)a[{i}]" if "*" in kind else f"number(a[{i}])" if kind == "float" else f"({kind})a[{i}]"
            for i, (kind, _) in enumerate(kernel.parameters)
        ]
        cases.append(f"    case {index}: {kernel.symbol}({', '.join(values)}); break;")
    lines += ["void es_test_call(uint64_t kernel, const uint64_t *a);", "void es_test_call(uint64_t kernel,"]
    lines += ["                  const uint64_t *a) {", "  (void)a, (void)number;", "  switch (kernel) {"]
    return "\n".join([*lines, *cases, "    default: break;", "  }", "}", ""])


def execute(isa: str, stem: str, runs: Sequence[Run]) -> list[list[Outcome]]:
    """Every run in each placement. After a crash the last outcome says so, and later runs have none."""
    architecture = ISAS[isa].architecture
    index = {kernel.symbol: i for i, kernel in enumerate(kernels_of(stem, architecture))}
    if architecture == "wasm32":
        module = _Module(program(stem, architecture))
        return [list(module.run(run, index)) for run in runs]
    emulator = _emulator() if architecture != platform.machine() else None
    with tempfile.NamedTemporaryFile(suffix=".runs") as file:
        file.write(_encode(runs, index))
        file.flush()
        command = [*([emulator] if emulator else []), str(program(stem, architecture)), file.name]
        done = subprocess.run(command, capture_output=True, check=False, timeout=300)
    return _decode(runs, done.stdout, done.returncode)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def _words(*values: int) -> bytes:
    return np.array([v & 0xFFFFFFFFFFFFFFFF for v in values], np.uint64).tobytes()


def _encode(runs: Sequence[Run], index: dict[str, int]) -> bytes:
    slots = max((len(r.buffers) for r in runs), default=0)
    sizes = [max(r.buffers[i].size_bytes for r in runs if i < len(r.buffers)) for i in range(slots)]
    parts = [_words(slots, *sizes, len(runs))]
    for run in runs:
        parts.append(_words(len(run.buffers)))
        for buffer in run.buffers:
            parts.append(_words(buffer.size_bytes, buffer.kind) + _padded(buffer.data or b""))
        parts.append(_words(len(run.calls)))
        for kernel, arguments in run.calls:
            words = [w for a in arguments for w in (int(a.is_buffer), a.value)]
            parts.append(_words(index[kernel.symbol], len(arguments), *words))
    return b"".join(parts)


def _decode(runs: Sequence[Run], data: bytes, code: int) -> list[list[Outcome]]:
    found: list[list[Outcome]] = []
    at = 0
    for run in runs:
        found.append([])
        size = 8 + sum(b.size_bytes + -b.size_bytes % 8 for b in run.buffers if b.kind in (OUTPUT, BOTH))
        for placement in PLACEMENTS:
            if at + size > len(data):
                how = f"signal {-code}, as reading or writing outside of a buffer does" if code < 0 else f"exit {code}"
                found[-1].append(Outcome(placement, f"the program ended here: {how}", {}))
                return found
            status = int.from_bytes(data[at : at + 8], "little")
            outputs, place = {}, at + 8
            for buffer in run.buffers:
                if buffer.kind in (OUTPUT, BOTH):
                    outputs[buffer.name] = data[place : place + buffer.size_bytes]
                    place += buffer.size_bytes + -buffer.size_bytes % 8
            found[-1].append(Outcome(placement, _problem(status, run), outputs))
            at += size
    return found


def _problem(status: int, run: Run) -> str:
    return f"{_MESSAGES[status // 1000]}: '{run.buffers[status % 1000].name}'" if status else ""


class _Module:
    """One instance of a module; buffers lie behind ``__heap_base`` with 0xff between them."""

    def __init__(self, path: Path) -> None:
        import wasmtime

        config = wasmtime.Config()
        for name, value in WASM_SETTINGS.items():
            setattr(config, name, value)
        self._wasmtime: Any = wasmtime
        self._store = wasmtime.Store(wasmtime.Engine(config))
        module = wasmtime.Module(self._store.engine, path.read_bytes())
        exports: Any = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._memory, self._call = exports["memory"], exports["es_test_call"]
        self._base = int(exports["__heap_base"].value(self._store)) + _CANARY_BYTES

    def _bytes(self, at_least: int) -> Any:
        import ctypes

        missing = at_least - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, -(-missing // 65536))
        start = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        length = self._memory.data_len(self._store)
        return np.frombuffer((ctypes.c_ubyte * length).from_address(start), np.uint8)

    def run(self, run: Run, index: dict[str, int]) -> Iterator[Outcome]:
        words = max(len(a) for _, a in run.calls) * 8
        total = sum(b.size_bytes + 8 + _CANARY_BYTES for b in run.buffers) + words + 8
        memory = self._bytes(self._base + total + 2 * _CANARY_BYTES)
        for last, chosen in enumerate(run.buffers):
            # The arguments and all buffers but one from the base up; that one ends with the memory.
            places, at = [], self._base + -self._base % 8 + words + _CANARY_BYTES
            for number, buffer in enumerate(run.buffers):
                if number == last:
                    places.append(len(memory) - buffer.size_bytes)
                    continue
                places.append(at)
                at += buffer.size_bytes + -buffer.size_bytes % 4 + _CANARY_BYTES
            memory[self._base - _CANARY_BYTES : at] = 255
            memory[len(memory) - chosen.size_bytes - _CANARY_BYTES :] = 255
            for buffer, place in zip(run.buffers, places, strict=True):
                if buffer.data is not None:
                    memory[place : place + buffer.size_bytes] = np.frombuffer(buffer.data, np.uint8)
            placement = f"'{chosen.name}' at the end of memory"
            try:
                for kernel, arguments in run.calls:
                    values = [places[a.value] if a.is_buffer else a.value for a in arguments]
                    block = np.frombuffer(_words(*values), np.uint8)
                    begin = self._base + -self._base % 8
                    memory[begin : begin + len(block)] = block
                    self._call(self._store, index[kernel.symbol], begin)
            except (self._wasmtime.Trap, self._wasmtime.WasmtimeError) as error:
                yield Outcome(placement, f"trap: {str(error).splitlines()[-1]}", {})
                return
            yield Outcome(placement, self._check(run, places, memory), {
                b.name: memory[p : p + b.size_bytes].tobytes()
                for b, p in zip(run.buffers, places, strict=True) if b.kind in (OUTPUT, BOTH)
            })  # fmt: skip

    def _check(self, run: Run, places: list[int], memory: Any) -> str:
        for number, (buffer, place) in enumerate(zip(run.buffers, places, strict=True)):
            end = place + buffer.size_bytes
            if buffer.kind == INPUT and memory[place:end].tobytes() != buffer.data:
                return _problem(1000 + number, run)
            outside = (memory[place - _CANARY_BYTES : place], memory[end : end + _CANARY_BYTES])
            if any((part != 255).any() for part in outside):
                return _problem(2000 + number, run)
        return ""
