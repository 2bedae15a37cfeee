"""``libmodel.so`` and ``weights.bin`` of a bundle in this process, both checked against the manifest."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edgesparse.errors import RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.runtimes.files import check_sha256, check_sizes, read_verified
from edgesparse.types import Array

ALIGN = 64
READ_BYTES = 1 << 26  # at once
LIBRARY, WEIGHTS = "libmodel.so", "weights.bin"


class Library:
    """libmodel.so, loaded from a copy in memory.

    The copy is what was checked against the manifest; it stays whole when the bundle is
    overwritten; and each session gets variables of its own (the chosen ISA, the threads), where dlopen
    would hand out one library for all that open the same file.
    """

    def __init__(self, bundle: Path, manifest: Manifest, isa: str | None, threads: int) -> None:
        content = read_verified(bundle, manifest, LIBRARY)
        self._fd = os.memfd_create(LIBRARY, os.MFD_CLOEXEC)
        self.closed = False
        self._handle: int | None = None
        self._model_threads: Callable[[int], int] | None = None
        try:
            with os.fdopen(os.dup(self._fd), "wb") as copy:
                copy.write(content)
            # The name is unlike that of any other open library for as long as _fd is open.
            library = ctypes.CDLL(f"/proc/self/fd/{self._fd}", mode=os.RTLD_NOW | os.RTLD_LOCAL)
            self._handle = library._handle
            self.model_run = library.model_run
            self.model_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
            self.model_run.restype = ctypes.c_int
            self.model_calls = library.model_calls
            self.model_calls.argtypes = [ctypes.c_int, ctypes.c_int, *self.model_run.argtypes]
            self.model_calls.restype = ctypes.c_int
            _check_facts(bundle, manifest, _Facts.in_dll(library, "es_the_model"))
            library.model_isa.restype = ctypes.c_char_p
            library.model_use_isa.argtypes = [ctypes.c_char_p]
            if isa is not None and library.model_use_isa(isa.encode()) != 0:
                able = [i for i in manifest.isas if library.model_use_isa(i.encode()) == 0]
                raise RuntimeFailure(
                    f"this CPU ({cpu_name()}) cannot run {isa}", where=str(bundle),
                    hint=f"leave out isa, or use one of {', '.join(able)}" if able else "",
                )  # fmt: skip
            self.isa = (library.model_isa() or b"").decode()
            self._model_threads = library.model_threads
            if threads > 1 and (code := self._model_threads(threads)) != 0:
                raise RuntimeFailure(
                    f"the system gives no {threads} threads (model_threads returned {code})", where=str(bundle),
                    hint="open it with fewer threads",
                )  # fmt: skip
            self.thread_ids = tuple(library.model_thread_id(i) for i in range(1, threads))
        except (OSError, AttributeError, ValueError) as error:  # not a library; a function or es_the_model is missing
            self.close()
            raise RuntimeFailure(
                f"{LIBRARY} cannot be loaded: {error}", where=str(bundle), hint="compile the model again"
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._handle is not None:
            if self._model_threads is not None:
                self._model_threads(1)  # they run the code that is about to go away
            ctypes.CDLL(None).dlclose(ctypes.c_void_p(self._handle))
        os.close(self._fd)


class _PortFacts(ctypes.Structure):
    """es_port of model_info.h."""

    _fields_ = (("name", ctypes.c_char_p), ("bytes", ctypes.c_uint64))


class _Facts(ctypes.Structure):
    """es_model of model_info.h."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("arena_bytes", ctypes.c_uint64), ("weights_bytes", ctypes.c_uint64),
        ("scratch_bytes", ctypes.c_uint64),
        ("input_count", ctypes.c_uint32), ("output_count", ctypes.c_uint32),
        ("inputs", ctypes.POINTER(_PortFacts)), ("outputs", ctypes.POINTER(_PortFacts)),
    )  # fmt: skip


def _check_facts(bundle: Path, manifest: Manifest, facts: _Facts) -> None:
    """The library reads and writes what it was compiled for, whatever the manifest says."""
    check_sizes(
        bundle, manifest, facts.arena_bytes, facts.weights_bytes, facts.scratch_bytes,
        [facts.inputs[i].bytes for i in range(facts.input_count)],
        [facts.outputs[i].bytes for i in range(facts.output_count)],
    )  # fmt: skip


class Weights:
    """weights.bin at a page boundary: mapped read-only, so that sessions share it.

    A language model's are read instead, into large pages: all of them go by for each token, and from the small pages of
    a file half as many bytes a second were read (13.7 GB/s rather than 30, one core of a virtual machine).
    """

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        self._map: mmap.mmap | None = None
        self._array: Array = aligned(0)  # nothing to map
        if manifest.weights_bytes > 0:
            try:
                with (bundle / WEIGHTS).open("rb") as file:
                    self._map = _read(file) if manifest.decoder else _mapped(file)
            except (OSError, ValueError) as error:  # ValueError: the file is empty
                raise RuntimeFailure(
                    f"{WEIGHTS} cannot be mapped: {error}", where=str(bundle), hint="copy the bundle again"
                ) from error
            digest = hashlib.sha256(self._map).hexdigest()
            self._array = np.frombuffer(self._map, np.uint8)
            try:
                check_sha256(bundle, manifest, WEIGHTS, digest)
                if self._array.nbytes != manifest.weights_bytes:
                    raise RuntimeFailure(
                        f"{WEIGHTS} has {self._array.nbytes} bytes, expected {manifest.weights_bytes}",
                        where=str(bundle), hint="compile the model again",
                    )  # fmt: skip
            except BaseException:
                self.close()
                raise
        self.address = self._array.ctypes.data

    def close(self) -> None:
        self._array = aligned(0)
        if self._map is not None:
            self._map.close()
            self._map = None


def _mapped(file: BinaryIO) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def _read(file: BinaryIO) -> mmap.mmap:
    """The content in memory of its own, in large pages where the system gives them."""
    size = os.fstat(file.fileno()).st_size
    content = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        content.madvise(mmap.MADV_HUGEPAGE)
    with memoryview(content) as view:
        done = 0
        while done < size:
            count = file.readinto(view[done : done + READ_BYTES])  # type: ignore[attr-defined]
            if not count:
                raise ValueError("it got shorter")
            done += count
    return content


def aligned(size_bytes: int) -> Array:
    """Uninitialised bytes at a 64-byte boundary. Raises RuntimeFailure: there are not as many."""
    try:
        room = np.empty(size_bytes + ALIGN, np.uint8)
    except MemoryError as error:
        raise RuntimeFailure(
            f"no {size_bytes / 1e9:.1f} GB of memory for what the model computes with",
            hint="use another machine, or compile a language model for fewer positions: --context",
        ) from error
    start = -room.ctypes.data % ALIGN
    return room[start : start + size_bytes]


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # a sandbox without /proc: the name is for people only
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.lower().startswith("model name"))
    return next(names, platform.machine())
