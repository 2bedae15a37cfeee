"""Runs ``libmodel.so`` inside this process, on the CPU at hand."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.runtimes.arrays import Sample, empty_outputs
from edgesparse.runtimes.generation import Held
from edgesparse.runtimes.library import Library, Weights, aligned, cpu_name
from edgesparse.runtimes.sensors import Observer, temperatures
from edgesparse.runtimes.session import Progress, Session, thread_count
from edgesparse.types import DTYPES, CallTimes

KINDS = ("shared", "executable")  # the latter holds a libmodel.so beside the program
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
            hint = f"run it emulated: runtime='qemu' (--runtime qemu); or {hint}"
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
        self._isa, self._threads = isa, threads
        self._load()
        self.machine.update(
            runtime="local", cpu=cpu_name(), isa=self._library.isa, timing="in process", threads=str(threads),
            pinned_cpu=",".join(map(str, cpus)) or "no",
        )  # fmt: skip

    def _load(self) -> None:
        self._weights = Weights(self.bundle, self.manifest)
        try:
            self._library = Library(self.bundle, self.manifest, self._isa, self._threads)
        except BaseException:
            self._weights.close()
            raise
        self._arena = aligned(self.manifest.arena_bytes + (self._threads - 1) * self.manifest.scratch_bytes)

    def renew(self) -> bool:
        with self._turn:
            if self._library.closed:
                raise self._closed()
            library, weights = self._library, self._weights
            self._load()  # while the others are still there, so that nothing comes to lie where they are
            library.close()
            weights.close()
        return True

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

    def held(self) -> Held:
        ports = self.manifest.inputs
        inputs = _aligned_like(tuple(np.zeros(port.shape, DTYPES[port.dtype]) for port in ports))
        outputs = _aligned_like(empty_outputs(self.manifest))
        ins, outs = self._pointers(inputs), self._pointers(outputs)

        def run() -> None:
            with self._turn:
                self._call(ins, outs)

        return Held(inputs, outputs, run)

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

    def _closed(self) -> RuntimeFailure:
        return RuntimeFailure("the session is closed", where=str(self.bundle), hint="open the bundle again")

    def _pointers(self, arrays: Sample) -> ctypes.Array[ctypes.c_void_p]:
        return (ctypes.c_void_p * max(len(arrays), 1))(*(array.ctypes.data for array in arrays))

    def _call(self, ins: ctypes.Array[ctypes.c_void_p], outs: ctypes.Array[ctypes.c_void_p]) -> None:
        if self._library.closed:
            raise self._closed()
        code = self._library.model_run(self._weights.address, self._arena.ctypes.data, ins, outs)
        if code == _OTHER_PROCESS:
            raise RuntimeFailure(
                "the threads of this session stayed in the process that was forked", where=str(self.bundle),
                hint="open the bundle in the process that runs it, or with threads=1",
            )  # fmt: skip
        if code != 0:
            raise RuntimeFailure(f"model_run returned {code}", where=str(self.bundle), hint="compile the model again")


def _aligned_like(arrays: Sample) -> Sample:
    copies = []
    for array in arrays:
        copy = aligned(array.nbytes).view(array.dtype).reshape(array.shape)
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
