"""Runs ``libmodel.so`` inside this process, on the CPU at hand."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.runtimes.sensors import Observer, temperatures
from edgesparse.runtimes.session import (
    Progress,
    Sample,
    Session,
    check_sha256,
    check_sizes,
    empty_outputs,
    read_verified,
    thread_count,
)
from edgesparse.types import Array, CallTimes

KINDS = ("shared", "executable")  # the latter holds a libmodel.so beside the program
ALIGN = 64
LIBRARY, WEIGHTS = "libmodel.so", "weights.bin"
EMPTY_CALLS = 200  # to learn what a call of nothing takes
_OTHER_PROCESS = -6  # ES_OTHER_PROCESS of model_info.h


def open(
    bundle: Path, manifest: Manifest, *, threads: int = 1, isa: str | None = None, pin: bool = True,
    cpu: int | None = None,
) -> LocalSession:  # fmt: skip
    """Load the bundle's library.

    Args:
        threads: how many run the model, the calling one among them; 0: one for each CPU this process may use.
        isa: use this instruction set ("avx2") rather than the best the CPU has.
        pin: keep timed runs on one core a thread, so that they are not moved in the middle.
        cpu: which core is the first thread's; unless given, the last of the biggest ones this process may use.

    Raises:
        RuntimeFailure: compiled for another machine, damaged, or the CPU lacks ``isa``; or no threads to be had.
        InputError: no such ISA in the bundle, no such core, or more threads than cores.
    """
    here = f"{platform.machine()}-{sys.platform}"
    if manifest.triple.split("-")[0] != platform.machine() or sys.platform != "linux":
        hint = "compile it here: edgesparse compile MODEL.onnx --device host -o NAME.edge"
        if manifest.kind == "executable":
            hint = f"run it emulated: runtime 'qemu' (--runtime qemu); or {hint}"
        raise RuntimeFailure(
            f"compiled for {manifest.device} ({manifest.triple}), but this machine is {here}",
            where=str(bundle), hint=hint,
        )  # fmt: skip
    if isa is not None and isa not in manifest.isas:
        raise InputError(
            f"the bundle has no code for '{isa}'", where=str(bundle), hint=f"it has: {', '.join(manifest.isas)}"
        )
    allowed = sorted(os.sched_getaffinity(0), key=lambda each: (_capacity(each), each))
    if cpu is not None and cpu not in allowed:
        raise InputError(
            f"this process may not run on CPU {cpu}", where="cpu", hint=f"one of {', '.join(map(str, sorted(allowed)))}"
        )
    threads = thread_count(threads, len(allowed))
    first = allowed[-1] if cpu is None else cpu
    others = [c for c in reversed(allowed) if c != first]
    return LocalSession(bundle, manifest, isa, threads, [first, *others[: threads - 1]] if pin else [])


class LocalSession(Session):
    """One loaded library with an arena and threads of its own. Threads of the caller's may share it: runs take turns.

    ``cpus``: one for each thread, to keep timed runs there; none: wherever the system puts them.
    """

    def __init__(self, bundle: Path, manifest: Manifest, isa: str | None, threads: int, cpus: Sequence[int]) -> None:
        super().__init__(bundle, manifest, {})
        self._cpus = tuple(cpus)
        self._turn = threading.Lock()
        self._weights = _Weights(bundle, manifest)
        try:
            self._library = _Library(bundle, manifest, isa, threads)
        except BaseException:
            self._weights.close()
            raise
        self._arena = _aligned(manifest.arena_bytes + (threads - 1) * manifest.scratch_bytes)
        self.machine.update(
            runtime="local", cpu=_cpu_name(), isa=self._library.isa, timing="in process", threads=str(threads),
            pinned_cpu=",".join(map(str, cpus)) or "no",
        )  # fmt: skip

    def run_samples(self, samples: Sequence[Sample]) -> list[Sample]:
        results = []
        with self._turn:
            for sample in samples:
                outputs = empty_outputs(self.manifest)
                self._call(self._pointers(sample), self._pointers(outputs))
                results.append(outputs)
        return results

    def time_sample(
        self, sample: Sample, num_runs: int, warmup_runs: int, on_progress: Progress | None
    ) -> tuple[Sample, tuple[int, ...]]:
        # Aligned like the buffers of the program in a bundle, so that both time the same thing.
        sample, outputs = _aligned_like(sample), _aligned_like(empty_outputs(self.manifest))
        ins, outs = self._pointers(sample), self._pointers(outputs)
        wall_ns = []
        with self._turn, _on_cpus([0, *self._library.thread_ids], self._cpus):
            for _ in range(warmup_runs):
                self._call(ins, outs)
            for i in range(num_runs):
                before = time.perf_counter_ns()
                self._call(ins, outs)
                wall_ns.append(time.perf_counter_ns() - before)
                if on_progress is not None:
                    on_progress(i + 1, num_runs)
        return outputs, tuple(wall_ns)

    def time_sample_calls(
        self, sample: Sample, num_runs: int, warmup_runs: int, max_secs: int | None, on_progress: Progress | None
    ) -> CallTimes:
        sample, outputs = _aligned_like(sample), _aligned_like(empty_outputs(self.manifest))
        ins, outs = self._pointers(sample), self._pointers(outputs)
        calls = 1 + max((max(x.calls) for x in self.manifest.layers if x.calls), default=-1)
        wall_ns, call_ns, clock, observer = [], [], time.perf_counter_ns, Observer(self._cpus)
        with self._turn, _on_cpus([0, *self._library.thread_ids], self._cpus):
            for _ in range(warmup_runs):
                self._call(ins, outs)
            # what it takes to call C and to read the clock, some 0.5 us, is not the model's
            empty_ns = min(self._time_calls([0] * EMPTY_CALLS, 0, ins, outs))
            zeros = self._count_zeros(range(calls), ins, outs)
            begin = time.monotonic()
            for i in range(num_runs):
                observer.observe(i, anyway=i == 0)
                before = clock()
                self._call(ins, outs)
                wall_ns.append(clock() - before)
                each = self._time_calls(range(calls), 1, ins, outs)
                call_ns.append(tuple(max(ns - empty_ns, 0) for ns in each))
                if on_progress is not None:
                    on_progress(i + 1, num_runs)
                if max_secs is not None and time.monotonic() - begin >= max_secs:
                    break
            observer.observe(len(wall_ns), anyway=True)
        facts = {"cpus": list(self._cpus), "empty_call_ns": empty_ns, "zeros": zeros, **observer.facts}
        return CallTimes(outputs, tuple(wall_ns), tuple(call_ns), facts)

    def _time_calls(
        self, calls: Sequence[int], count: int, ins: ctypes.Array[ctypes.c_void_p], outs: ctypes.Array[ctypes.c_void_p]
    ) -> list[int]:
        """Nanoseconds of calls i..i + count - 1 for every i in ``calls``."""
        run, places = self._library.model_calls, (self._weights.address, self._arena.ctypes.data, ins, outs)
        times, clock = [], time.perf_counter_ns
        before = clock()
        for i in calls:
            if (code := run(i, i + count, *places)) != 0:
                raise RuntimeFailure(f"model_calls returned {code}", where=str(self.bundle), hint="compile it again")
            after = clock()
            times.append(after - before)
            before = after
        return times

    def time_sample_runs(self, sample: Sample, num_runs: int, warmup_runs: int, max_secs: int) -> CallTimes:
        sample, outputs = _aligned_like(sample), _aligned_like(empty_outputs(self.manifest))
        ins, outs = self._pointers(sample), self._pointers(outputs)
        wall_ns: list[int]
        wall_ns, clock, observer = [], time.perf_counter_ns, Observer(self._cpus)
        with self._turn, _on_cpus([0, *self._library.thread_ids], self._cpus):
            for _ in range(warmup_runs):
                self._call(ins, outs)
            begin = time.monotonic()
            while len(wall_ns) < num_runs and (not wall_ns or time.monotonic() - begin < max_secs):
                observer.observe(len(wall_ns), anyway=not wall_ns)
                before = clock()
                self._call(ins, outs)
                wall_ns.append(clock() - before)
            observer.observe(len(wall_ns), anyway=True)
        return CallTimes(outputs, tuple(wall_ns), (), {"cpus": list(self._cpus), **observer.facts})

    def temperatures(self) -> dict[str, float]:
        return temperatures()

    def _count_zeros(
        self, calls: Sequence[int], ins: ctypes.Array[ctypes.c_void_p], outs: ctypes.Array[ctypes.c_void_p]
    ) -> list[int]:
        """Zeros in the output of each of `Manifest.held_in_arena`, each counted when its layer has just run."""
        layers = [self.manifest.layers[i] for i in self.manifest.held_in_arena()]
        counts: list[int] = []
        for call in calls:
            self._time_calls([call], 1, ins, outs)
            for held in (x.held for x in layers if x.calls[-1] == call):
                assert held is not None
                end = held.offset + held.planes * held.pitch * held.element_bytes
                planes = self._arena[held.offset : end].view(f"f{held.element_bytes}").reshape(held.planes, held.pitch)
                counts.append(planes.shape[0] * held.elements - int(np.count_nonzero(planes[:, : held.elements])))
        return counts

    def close(self) -> None:
        with self._turn:
            self._library.close()
            self._weights.close()

    def _pointers(self, arrays: Sample) -> ctypes.Array[ctypes.c_void_p]:
        return (ctypes.c_void_p * max(len(arrays), 1))(*(array.ctypes.data for array in arrays))

    def _call(self, ins: ctypes.Array[ctypes.c_void_p], outs: ctypes.Array[ctypes.c_void_p]) -> None:
        if self._library.closed:
            raise RuntimeFailure("the session is closed", where=str(self.bundle), hint="open the bundle again")
        code = self._library.model_run(self._weights.address, self._arena.ctypes.data, ins, outs)
        if code == _OTHER_PROCESS:
            raise RuntimeFailure(
                "the threads of this session stayed in the process that was forked", where=str(self.bundle),
                hint="open the bundle in the process that runs it, or with threads=1",
            )  # fmt: skip
        if code != 0:
            raise RuntimeFailure(f"model_run returned {code}", where=str(self.bundle), hint="compile the model again")


class _Library:
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
                    f"this CPU ({_cpu_name()}) cannot run {isa}", where=str(bundle),
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


class _Weights:
    """weights.bin mapped read-only: pages are shared between sessions and start at a page boundary."""

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        self._map: mmap.mmap | None = None
        self._array: Array = _aligned(0)  # nothing to map
        if manifest.weights_bytes > 0:
            try:
                with (bundle / WEIGHTS).open("rb") as file:
                    self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
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
        self._array = _aligned(0)
        if self._map is not None:
            self._map.close()
            self._map = None


def _aligned(size_bytes: int) -> Array:
    """Uninitialised bytes at a 64-byte boundary."""
    room = np.empty(size_bytes + ALIGN, np.uint8)
    start = -room.ctypes.data % ALIGN
    return room[start : start + size_bytes]


def _aligned_like(arrays: Sample) -> Sample:
    copies = []
    for array in arrays:
        copy = _aligned(array.nbytes).view(array.dtype).reshape(array.shape)
        copy[...] = array
        copies.append(copy)
    return tuple(copies)


@contextmanager
def _on_cpus(threads: Sequence[int], cpus: Sequence[int]) -> Iterator[None]:
    """Each thread (by Linux's number, 0 the calling one) runs on one core inside the block, and afterwards where the
    calling one could before. Without ``cpus`` nothing changes."""
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    for thread, cpu in zip(threads, cpus, strict=True):
        os.sched_setaffinity(thread, {cpu})
    try:
        yield
    finally:
        for thread in threads:
            os.sched_setaffinity(thread, before)


def _capacity(cpu: int, system: Path = Path("/sys/devices/system/cpu")) -> int:
    """How much work a core can do, as arm64 Linux says where they differ (1024 the most); 0: it does not say."""
    try:
        return int((system / f"cpu{cpu}/cpu_capacity").read_text())
    except (OSError, ValueError):
        return 0


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # a sandbox without /proc: the name is for people only
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.lower().startswith("model name"))
    return next(names, platform.machine())
