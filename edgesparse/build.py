"""Sources -> machine code, through the clang inside the ``ziglang`` wheel."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from edgesparse.errors import BuildError, InputError
from edgesparse.kernels import COMMON, ISAS, ROOT, asks_hwcap, flags, included_text
from edgesparse.manifest import Module
from edgesparse.places import cache_dir
from edgesparse.types import Kernel, Selection, Sources, Target
from edgesparse.workspace import workspace

RUNTIME_C = ROOT / "runtimes" / "c"
# -ffreestanding: no libc, and no turning of loops into calls of memset. NaN and infinity matter.
COMMON_FLAGS = (
    "-O3", "-g0", "-std=c11", "-ffreestanding", "-fno-stack-protector", "-fno-sanitize=all", "-ffp-contract=fast",
    "-fno-math-errno", "-fvisibility=hidden", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables",
    "-ffunction-sections", "-fdata-sections", "-Wall", "-Wextra", "-Werror",
)  # fmt: skip
# Nothing but our own objects is linked. Segments are aligned to 16 KB at least: Android 15 has such pages.
LINK_FLAGS = ("-nostdlib", "-s", "-Wl,--gc-sections")
PAGE_FLAG = "-Wl,-z,max-page-size=16384"
LIBRARY_LINK_FLAGS = (*LINK_FLAGS, PAGE_FLAG, "-shared", "-Wl,-soname,libmodel.so")
PROGRAM_LINK_FLAGS = (*LINK_FLAGS, PAGE_FLAG, "-static")
# what the loaders look for, beside `memory`, which the linker exports by itself
WASM_EXPORTS = ("model_run", "model_calls", "es_the_model", "__heap_base")
WASM_LINK_FLAGS = (
    *LINK_FLAGS, "-Wl,--no-entry", "-Wl,-z,stack-size=131072", *(f"-Wl,--export={name}" for name in WASM_EXPORTS),
)  # fmt: skip
# A second module, whose memory comes from outside and is shared with workers: engines without SharedArrayBuffer, and
# pages that are not isolated, cannot even load it.
WASM_THREADS = ("-matomics", "-mbulk-memory")
WASM_THREADS_LINK_FLAGS = (
    *WASM_LINK_FLAGS, *(f"-Wl,--export={name}" for name in ("model_team", "model_worker", "__stack_pointer")),
    "-Wl,--shared-memory", "-Wl,--import-memory",
    "-Wl,--max-memory=4294901760",  # all but a page: the option has 32 bits
)  # fmt: skip

_SMALL = ("-Os",)  # what is downloaded, of which no time is spent in loops

# How zig and lld say that the disk refuses, not our code.
_REFUSED = re.compile(
    "No space left|NoSpaceLeft|File too large|FileTooBig|quota|DiskQuota|Read-only file|ReadOnlyFileSystem|"
    "Permission denied|AccessDenied|Operation not permitted|PermissionDenied"
)
LOW_BYTES = 32_000_000  # with less than that free, a compiler that dies without a word died of it
_DISK_HINT = "free some space, or set EDGESPARSE_CACHE and TMPDIR to folders on another disk"


_Job = Callable[[], Path]


@dataclass(frozen=True, slots=True)
class Artifact:
    """``files`` by the name they get in the bundle; ``code_bytes`` of the stripped main one, or the largest module."""

    files: dict[str, bytes]
    code_bytes: int
    compiler: str
    modules: tuple[Module, ...] = ()


@cache
def compiler_version() -> str:
    import importlib.metadata

    return f"ziglang {importlib.metadata.version('ziglang')}"


def zig(command: str, arguments: Sequence[str | Path], cwd: Path) -> None:
    """Run ``zig <command>``.

    Raises:
        BuildError: with the compiler's own words, or how it died.
        InputError: a file could not be written, or there was no memory.
    """
    try:
        (cache_dir() / "zig").mkdir(parents=True, exist_ok=True)  # without it, zig would try for ever
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise InputError(f"the cache cannot be written: {why}", where=str(cache_dir()), hint=_DISK_HINT) from error
    line = [sys.executable, "-m", "ziglang", command, *map(str, arguments)]
    # zig's own cache beside ours: one variable moves all that is written
    environment = {"ZIG_GLOBAL_CACHE_DIR": str(cache_dir() / "zig"), **os.environ}
    done = subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stderr.strip():
        if found := _REFUSED.search(done.stderr):
            raise InputError(f"the compiler could not write: {found[0].lower()}", where=str(cwd), hint=_DISK_HINT)
        how = _how_it_ended(done.returncode)
        if done.returncode < 0 or not done.stderr.strip():
            _blame_the_machine(done.returncode, how, cwd)
        raise BuildError(
            f"zig {command} {how}:\n{done.stderr.strip()[-4000:]}",
            where=" ".join(map(str, arguments))[-400:], hint="this is a bug in edgesparse; please report it",
        )  # fmt: skip


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"failed (exit code {code})"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _blame_the_machine(code: int, how: str, cwd: Path) -> None:
    """lld aborts without a word when the disk is full, and Linux kills what takes too much memory."""
    for place in (Path(tempfile.gettempdir()), cache_dir(), cwd):
        there = next(p for p in (place, *place.absolute().parents) if p.exists())
        free = shutil.disk_usage(there).free
        if free < LOW_BYTES:
            what = f"the compiler {how}; only {free / 1e6:.1f} MB are free"
            raise InputError(what, where=str(place), hint=_DISK_HINT)
    if code == -signal.SIGKILL:
        raise InputError(f"the compiler {how}", hint="it probably took more memory than there is: free some")


def _target_flags(target: Target) -> list[str]:
    pic = [] if target.kind == "wasm" else ["-fPIC"]
    # a loop takes up to 1.2 times as long (Zen 4) where a line of the cache of decoded instructions begins within it:
    # the same in every bundle
    aligned = ["-falign-functions=64"] if target.triple.startswith("x86_64") else []
    return ["-target", target.triple, *pic, *aligned]


def _cached_object(source: Path, target: Target, flags: Sequence[str]) -> Path:
    """Compile a file of ours once per flag set. Safe against two processes and against kill -9.

    Beside each object lies its SHA-256, because a full disk or a lost power supply may leave a part of it.
    """
    text = included_text(source) if source.suffix == ".c" else source.read_text()
    base = [*_target_flags(target), *COMMON_FLAGS, *flags]
    key = hashlib.sha256("\0".join([compiler_version(), source.name, *base, text]).encode()).hexdigest()[:32]
    out = cache_dir() / "objects" / f"{source.stem}-{key}.o"
    checksum = out.with_suffix(".sha256")
    if out.exists() and checksum.exists() and checksum.read_text() == _sha256(out):
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    with workspace(out.parent) as scratch:
        fresh = scratch / "kernel.o"
        zig("cc", [*base, f"-I{COMMON}", f"-I{RUNTIME_C}", "-c", source, "-o", fresh], scratch)
        (scratch / "sha256").write_text(_sha256(fresh))
        os.replace(fresh, out)
        os.replace(scratch / "sha256", checksum)
    return out


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kernel_object(kernel: Kernel, target: Target, more: Sequence[str] = ()) -> Path:
    """The object file of one kernel, from the cache when it was compiled before. ``more``: flags."""
    isa = ISAS[kernel.isa]
    suffix = kernel.symbol.removeprefix(f"es_{kernel.stem}")
    defines = [f"-DES_SUFFIX={suffix}", f"-DES_VL={isa.width}", *(f"-D{k}={v}" for k, v in kernel.tiles.items())]
    return _cached_object(kernel.source, target, [*flags(kernel), *more, *defines])


def build(
    sources: Sources,
    selection: Selection,
    target: Target,
    *,
    on_progress: Callable[[int, int, str], None] | None = None,
    generates: bool = False,
) -> Artifact:
    """Compile and link. ``on_progress(done, total, what)`` is called as objects become ready. ``generates``: a language
    model, whose program is another one.

    Raises:
        BuildError: the compiler refused something; nothing is left behind.
        InputError: the cache or the temporary folder cannot be written.
    """
    try:
        return _build(sources, selection, target, on_progress, generates)
    except OSError as error:
        raise InputError(
            f"could not be written: {error.strerror or error}", where=str(error.filename or cache_dir()),
            hint=_DISK_HINT,
        ) from error  # fmt: skip


def _build(
    sources: Sources,
    selection: Selection,
    target: Target,
    on_progress: Callable[[int, int, str], None] | None,
    generates: bool,
) -> Artifact:
    from edgesparse.runtimes.c import (
        GENERATE_SOURCES,
        HWCAP_SOURCES,
        LIBRARY_SOURCES,
        PROGRAM_SOURCES,
        WASM_SOURCES,
        WASM_THREADS_SOURCES,
    )

    program = (GENERATE_SOURCES if generates else PROGRAM_SOURCES) if target.kind == "executable" else ()
    base_isa = ISAS[target.isas[-1]]
    small = _SMALL if target.kind == "wasm" else ()
    loop = ("-O2",) if generates else ()  # decoder.h has loops of its own
    with workspace(Path(tempfile.gettempdir())) as work:
        for name, text in sources.files.items():
            (work / name).write_text(text)

        def objects(
            isas: tuple[str, ...], support: Iterable[Path], more: tuple[str, ...] = (), suffix: str = ""
        ) -> list[tuple[str, _Job]]:
            """What goes into every file that is linked."""
            jobs: list[tuple[str, _Job]] = []
            kernels = {s.kernels[isa] for s in selection.steps for isa in isas}
            for kernel in sorted(kernels, key=lambda k: k.symbol):
                jobs.append((kernel.symbol + suffix, partial(kernel_object, kernel, target, more)))
            for path in support:
                jobs.append(
                    (path.name + suffix, partial(_cached_object, path, target, [*base_isa.flags, *more, *small]))
                )
            for isa in isas:
                flags = [*ISAS[isa].flags, *more, f"-DES_ISA_{isa}"]
                out = f"model_{isa}{suffix}.o"
                jobs.append(
                    (f"model.c for {isa}{suffix}", partial(_compile, work, target, "model.c", out, [*flags, *loop]))
                )
            flags = [*base_isa.flags, *more, *(f"-DES_ISA_{isa}" for isa in isas)]
            out = f"dispatch_{isas[0]}{suffix}.o"
            jobs.append((f"dispatch.c{suffix}", partial(_compile, work, target, "dispatch.c", out, flags)))
            return jobs

        groups: list[list[tuple[str, _Job]]] = []
        if target.kind == "wasm":
            for isa in selection.isas:
                groups.append(objects((isa,), WASM_SOURCES, ("-DES_ONE_THREAD",)))
                groups.append(objects((isa,), WASM_THREADS_SOURCES, WASM_THREADS, ".threads"))
        else:
            own: list[tuple[str, _Job]] = [
                (path.name, partial(_cached_object, path, target, base_isa.flags)) for path in program
            ]
            library = (*LIBRARY_SOURCES, *(HWCAP_SOURCES if asks_hwcap(selection.isas) else ()))
            groups = [objects(selection.isas, library), own]
        made = iter(_run([job for group in groups for job in group], on_progress))
        ready = [[next(made) for _ in group] for group in groups]
        if target.kind == "wasm":
            files, modules = _link_modules(work, target, ready)
            return Artifact(files, max(m.bytes for m in modules), compiler_version(), modules)
        files = _link(work, target, *ready)
    main = {"shared": "libmodel.so", "executable": "model"}[target.kind]
    return Artifact(files, len(files[main]), compiler_version())


def _run(jobs: Sequence[tuple[str, _Job]], on_progress: Callable[[int, int, str], None] | None) -> list[Path]:
    done = 0

    def one(job: tuple[str, _Job]) -> Path:
        nonlocal done
        path = job[1]()
        done += 1
        if on_progress:
            on_progress(done, len(jobs), job[0])
        return path

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(one, jobs))


def _compile(work: Path, target: Target, source: str, out: str, flags: Iterable[str]) -> Path:
    # -O1: calls only, nothing to optimise, and large models compile in no time
    options = [*_target_flags(target), *COMMON_FLAGS, *(_SMALL if target.kind == "wasm" else ("-O1",)), *flags]
    zig("cc", [*options, f"-I{work}", f"-I{RUNTIME_C}", "-c", source, "-o", work / out], work)
    return work / out


def _link(work: Path, target: Target, objects: Sequence[Path], more: Sequence[Path]) -> dict[str, bytes]:
    """``more``: the objects of the program beside the library's."""
    base = ["-target", target.triple]
    zig("cc", [*base, *LIBRARY_LINK_FLAGS, *objects, "-o", "libmodel.so"], work)
    made = ["libmodel.so"]
    if target.kind == "executable":
        zig("cc", [*base, *PROGRAM_LINK_FLAGS, *objects, *more, "-o", "model"], work)
        zig("ar", ["rcs", "libmodel.a", *objects], work)
        made += ["model", "libmodel.a"]
    return {name: (work / name).read_bytes() for name in made}


def _link_modules(
    work: Path, target: Target, objects: Sequence[Sequence[Path]]
) -> tuple[dict[str, bytes], tuple[Module, ...]]:
    """``objects``: for each instruction set those of the module for one thread, then those of the one for several.

    An engine compiles a module as a whole, and refuses one with instructions that it does not know: what a native
    program chooses at run time is chosen here before anything is downloaded.
    """
    files: dict[str, bytes] = {}
    modules = []
    builds = [(isa, threads) for isa in target.isas for threads in (False, True)]
    for (isa, threads), own in zip(builds, objects, strict=True):
        name = f"model-{isa}{'-threads' if threads else ''}.wasm"
        options = [*WASM_THREADS_LINK_FLAGS, *WASM_THREADS] if threads else [*WASM_LINK_FLAGS]
        zig("cc", ["-target", target.triple, *options, *ISAS[isa].flags, *own, "-o", name], work)
        files[name] = (work / name).read_bytes()
        modules.append(Module(file=name, isa=isa, threads=threads, bytes=len(files[name])))
    return files, tuple(modules)
