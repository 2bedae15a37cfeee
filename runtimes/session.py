"""What every runtime has in common: checking inputs, stacking outputs, and the `Session` itself."""

from __future__ import annotations

import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import Manifest, Module, Port
from edgesparse.packed_weights import decode
from edgesparse.types import DTYPES, Array, CallTimes, RunResult, Shape

if sys.version_info >= (3, 11):
    from typing import Self
else:
    from typing_extensions import Self

# Values by input name, as the user gives them: arrays, or numbers in lists.
Inputs = Mapping[str, Any]
# One run of the model: contiguous arrays in the order of the manifest's inputs (or outputs).
Sample = tuple[Array, ...]
MAX_THREADS = 256  # as in pool.c
MAX_RUNS, MAX_SECS = 10_000_000, 1_000_000  # as in options.h
# Called after every timed run with (runs done, runs in all).
Progress = Callable[[int, int], None]


class Session(ABC):
    """An opened bundle: ``run`` and ``bench`` it, ``close`` it (or use ``with``).

    ``machine`` says what it runs on, ``manifest`` what the model takes and gives. Not for use by
    several threads at once unless a runtime says so.
    """

    def __init__(self, bundle: Path, manifest: Manifest, machine: Mapping[str, str]) -> None:
        self.bundle = bundle
        self.manifest = manifest
        self.machine: dict[str, str] = dict(machine)

    def run(self, inputs: Inputs, each: bool = False) -> dict[str, Array]:
        """Outputs by name for one sample, or with ``each`` for a stack of them.

        Shapes as in `check_inputs` and `stack_outputs`.

        Raises:
            InputError: an input is missing, unknown, or of another shape or dtype.
            RuntimeFailure: the engine failed.
        """
        samples = check_inputs(self.manifest, inputs, each)
        return stack_outputs(self.manifest, self.run_samples(samples), each)

    def bench(
        self,
        inputs: Inputs,
        num_runs: int = 50,
        warmup_runs: int = 5,
        on_progress: Progress | None = None,
    ) -> RunResult:
        """Time ``num_runs`` runs on one sample, after ``warmup_runs`` untimed ones.

        Only the model is timed: not the checking or copying of inputs and outputs.

        Raises:
            InputError: as `run`, or a number of runs that is not possible.
            RuntimeFailure: the engine failed.
        """
        sample = self._sample_to_time(inputs, num_runs, warmup_runs)
        outputs, wall_ns = self.time_sample(sample, num_runs, warmup_runs, on_progress)
        names = [port.name for port in self.manifest.outputs]
        return RunResult(dict(zip(names, outputs, strict=True)), wall_ns, machine=dict(self.machine))

    def time_calls(
        self,
        inputs: Inputs,
        num_runs: int = 50,
        warmup_runs: int = 5,
        max_secs: int | None = None,
        on_progress: Progress | None = None,
    ) -> CallTimes:
        """Time ``num_runs`` runs, each followed by one that times every kernel call; fewer after ``max_secs`` seconds.

        Raises:
            InputError: as `bench`.
            RuntimeFailure: the engine failed, or this runtime cannot time kernel calls.
        """
        sample = self._sample_to_time(inputs, num_runs, warmup_runs, max_secs)
        return self.time_sample_calls(sample, num_runs, warmup_runs, max_secs, on_progress)

    def time_runs(self, inputs: Inputs, num_runs: int, warmup_runs: int, max_secs: int) -> CallTimes:
        """As `time_calls`, without timing kernel calls where that can be left out: ``call_ns`` may be empty.

        Raises:
            InputError, RuntimeFailure: as `time_calls`.
        """
        sample = self._sample_to_time(inputs, num_runs, warmup_runs, max_secs)
        return self.time_sample_runs(sample, num_runs, warmup_runs, max_secs)

    @property
    def chooses_cores(self) -> bool:
        """Whether `use_cores` can be obeyed."""
        return False

    def renew(self) -> bool:
        """Start anew what runs the model, so that the next timed runs find its memory in other places; False where this
        runtime goes on with what it has.

        Raises:
            RuntimeFailure: the bundle has been damaged since it was opened.
        """
        return False

    def use_cores(self, cores: str) -> None:
        """From now on timed runs are on these cores: big, little, all, or a mask of CPU numbers in hexadecimal.

        Raises:
            InputError: this runtime cannot choose, or ``cores`` is none of these.
        """
        raise InputError(
            f"the runtime {self.machine.get('runtime', '')} cannot choose cores", where="cores",
            hint="--runtime adb, ssh and qemu can; elsewhere start edgesparse under taskset",
        )  # fmt: skip

    def temperatures(self) -> dict[str, float]:
        """Degrees Celsius by the name of the sensor, of those with the same name the highest; empty: it tells none.

        Raises:
            InputError: this runtime cannot ask.
            RuntimeFailure: the device is gone.
        """
        raise InputError(
            f"the runtime {self.machine.get('runtime', '')} cannot ask for temperatures", where=str(self.bundle),
            hint="--runtime local, adb and ssh can",
        )  # fmt: skip

    def _sample_to_time(
        self, inputs: Inputs, num_runs: int, warmup_runs: int, max_secs: int | None = None
    ) -> Sample:  # fmt: skip
        if max_secs is not None and not 1 <= max_secs <= MAX_SECS:
            raise InputError(f"cannot time for {max_secs} seconds", where="max_secs", hint=f"give 1 to {MAX_SECS}")
        if not 1 <= num_runs <= MAX_RUNS:
            raise InputError(f"cannot time {num_runs} runs", where="num_runs", hint=f"give 1 to {MAX_RUNS}")
        if not 0 <= warmup_runs <= MAX_RUNS:
            raise InputError(
                f"cannot warm up for {warmup_runs} runs", where="warmup_runs", hint=f"give 0 to {MAX_RUNS}"
            )
        (sample,) = check_inputs(self.manifest, inputs, each=False)
        return sample

    def time_sample_calls(
        self, sample: Sample, num_runs: int, warmup_runs: int, max_secs: int | None, on_progress: Progress | None
    ) -> CallTimes:
        """As `time_calls`; the arguments have been checked."""
        raise RuntimeFailure(
            f"the runtime {self.machine.get('runtime', '')} cannot time kernel calls", where=str(self.bundle),
            hint="--runtime local, qemu, node, chromium, firefox, adb and ssh can",
        )  # fmt: skip

    def time_sample_runs(self, sample: Sample, num_runs: int, warmup_runs: int, max_secs: int) -> CallTimes:
        """As `time_runs`; the arguments have been checked."""
        return self.time_sample_calls(sample, num_runs, warmup_runs, max_secs, None)

    @abstractmethod
    def run_samples(self, samples: Sequence[Sample]) -> list[Sample]:
        """The outputs of each sample. The inputs have been checked."""

    @abstractmethod
    def time_sample(
        self, sample: Sample, num_runs: int, warmup_runs: int, on_progress: Progress | None
    ) -> tuple[Sample, tuple[int, ...]]:
        """Outputs, and nanoseconds of each timed run. The arguments have been checked."""

    def close(self) -> None:  # noqa: B027  (most runtimes hold nothing)
        """Give back what the session holds; closing twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_inputs(manifest: Manifest, inputs: Inputs, each: bool) -> list[Sample]:
    """The samples in ``inputs``: one, or with ``each`` one for every index of axis 0.

    Without ``each`` an input has exactly the shape of its port. With ``each`` it is ``(n, *shape)``
    or, for a port whose first dimension is 1, also ``(n, *shape[1:])``; n is at least 1 and the same
    for all inputs.

    Arrays (NumPy, or anything with ``__array__``) must have the dtype of the port: nothing is cast
    silently. Python numbers and lists have no dtype of their own: integers and floats become the
    float type of the port; for an integer port only integers that it can hold are accepted.

    Raises:
        InputError: (a ValueError) names the input, the shape and dtype expected and those given.
    """
    if not isinstance(inputs, Mapping):
        raise InputError(
            f"inputs are given by name, not as {type(inputs).__name__}", where=manifest.name,
            hint=f"run({{{', '.join(f'{port.name!r}: ...' for port in manifest.inputs)}}})",
        )  # fmt: skip
    ports = manifest.inputs
    known = ", ".join(f"'{port.name}'" for port in ports) or "none"
    missing = [port for port in ports if port.name not in inputs]
    if missing:
        raise InputError(
            f"missing; expected {describe(missing[0].shape, missing[0].dtype)}",
            where=f"input '{missing[0].name}'", hint=f"the inputs of {manifest.name} are: {known}",
        )  # fmt: skip
    unknown = [name for name in inputs if name not in {port.name for port in ports}]
    if unknown:
        raise InputError(
            "the model has no such input", where=f"input '{unknown[0]}'",
            hint=f"the inputs of {manifest.name} are: {known}",
        )  # fmt: skip
    arrays = [_array(port, inputs[port.name]) for port in ports]
    if not each:
        return [tuple(_shaped(port, array) for port, array in zip(ports, arrays, strict=True))]
    stacks = [_stack(port, array) for port, array in zip(ports, arrays, strict=True)]
    if not stacks:
        raise InputError(
            "there is no input to iterate over", where=manifest.name, hint="run without each=True (--each)"
        )
    for port, stack in zip(ports, stacks, strict=True):
        if len(stack) != len(stacks[0]):
            raise InputError(
                f"{len(stack)} samples, but '{ports[0].name}' has {len(stacks[0])}",
                where=f"input '{port.name}'", hint="give the same number of samples for every input",
            )  # fmt: skip
    # [i, ...] and not [i], which would make numbers of scalars
    return [tuple(stack[i, ...] for stack in stacks) for i in range(len(stacks[0]))]


def stack_outputs(manifest: Manifest, results: Sequence[Sample], each: bool) -> dict[str, Array]:
    """Outputs by name. With ``each`` the samples are joined along axis 0: ``(n, *shape[1:])`` for an
    output whose first dimension is 1 (the batch), else ``(n, *shape)``."""
    if not each:
        (outputs,) = results
        return {port.name: array for port, array in zip(manifest.outputs, outputs, strict=True)}
    stacked: dict[str, Array] = {}
    for i, port in enumerate(manifest.outputs):
        column = [outputs[i] for outputs in results]
        stacked[port.name] = np.concatenate(column) if port.shape[:1] == (1,) else np.stack(column)
    return stacked


def thread_count(threads: int, cpus: int) -> int:
    """``threads``, or with 0 as many as the ``cpus`` that this process may use.

    Raises:
        InputError: more threads than CPUs, or not a number of threads.
    """
    if threads < 0 or threads > MAX_THREADS:
        raise InputError(
            f"{threads} is not a number of threads", where="threads", hint=f"1 to {MAX_THREADS}, or 0 for every CPU"
        )
    if threads > cpus:
        raise InputError(
            f"{threads} threads, but this process may use {cpus} CPU{'' if cpus == 1 else 's'}", where="threads",
            hint="more threads than CPUs would wait for each other; give 0 to use every CPU",
        )  # fmt: skip
    return threads or min(cpus, MAX_THREADS)


def describe(shape: Shape, dtype: str) -> str:
    """``float32 [1, 3, 224, 224]``"""
    return f"{DTYPES[dtype]} {list(shape)}"


def empty_outputs(manifest: Manifest) -> Sample:
    return tuple(np.empty(port.shape, DTYPES[port.dtype]) for port in manifest.outputs)


def best_module(bundle: Path, manifest: Manifest, *, threads: bool, relaxed: bool = True) -> Module:
    """Of a WebAssembly bundle the module to run, for one thread or for several.

    Raises:
        RuntimeFailure: there is none: of an older version, or all of them need relaxed SIMD and it is not there.
    """
    fitting = [m for m in manifest.modules if m.threads == threads]
    able = [m for m in fitting if relaxed or "relaxed" not in m.isa]
    if able:
        return able[0]
    raise RuntimeFailure(
        "every module of the bundle uses relaxed SIMD" if fitting else "the bundle lists no module for this",
        where=str(bundle), hint="edgesparse compile MODEL.onnx --device browser makes a bundle that runs everywhere",
    )  # fmt: skip


def read_verified(bundle: Path, manifest: Manifest, name: str) -> bytes:
    """The bytes of a file of the bundle.

    Raises:
        RuntimeFailure: it is missing, or its SHA-256 is not the one in the manifest.
    """
    try:
        content = (bundle / name).read_bytes()
    except OSError as error:
        raise _damaged(bundle, name, f"cannot be read: {error.strerror}") from error
    check_sha256(bundle, manifest, name, hashlib.sha256(content).hexdigest())
    return content


def read_weights(bundle: Path, manifest: Manifest) -> bytes:
    """The content of weights.bin, which WebAssembly bundles hold packed. Raises RuntimeFailure as `read_verified`."""
    if not manifest.weights_bytes:
        return b""
    if manifest.kind != "wasm":
        return read_verified(bundle, manifest, "weights.bin")
    if manifest.weights is None:
        raise _damaged(bundle, "manifest.json", "does not say how its weights are packed")
    packed = manifest.weights
    try:
        return decode(packed, read_verified(bundle, manifest, packed.file), manifest.weights_bytes)
    except RuntimeFailure as error:
        error.where = error.where or str(bundle)
        raise


def check_sha256(bundle: Path, manifest: Manifest, name: str, digest: str) -> None:
    """Compare the SHA-256 of a file, in hexadecimal, with the manifest. Raises RuntimeFailure."""
    expected = manifest.files.get(name)
    if expected is None:
        raise _damaged(bundle, name, "is not listed in the manifest")
    if digest != expected:
        raise _damaged(bundle, name, "is damaged: its SHA-256 is not the one in the manifest")


def check_sizes(
    bundle: Path, manifest: Manifest, arena_bytes: int, weights_bytes: int, scratch_bytes: int,
    inputs: Sequence[int], outputs: Sequence[int],
) -> None:  # fmt: skip
    """Compare what the compiled code says of itself (es_the_model) with the manifest. Raises RuntimeFailure."""
    said: list[tuple[str, object, object]] = [
        ("arena bytes", manifest.arena_bytes, arena_bytes),
        ("bytes of weights", manifest.weights_bytes, weights_bytes),
        ("scratch bytes", manifest.scratch_bytes, scratch_bytes),
        ("bytes of inputs", [p.bytes for p in manifest.inputs], list(inputs)),
        ("bytes of outputs", [p.bytes for p in manifest.outputs], list(outputs)),
    ]
    for what, expected, compiled in said:
        if expected != compiled:
            raise _damaged(bundle, "manifest.json", f"says {expected} {what}, the compiled model {compiled}")


def _damaged(bundle: Path, name: str, what: str) -> RuntimeFailure:
    return RuntimeFailure(f"{name} {what}", where=str(bundle), hint="compile the model again, or copy the bundle again")


def _array(port: Port, value: Any) -> Array:
    """``value`` as an array of the port's dtype, or InputError."""
    dtype = DTYPES[port.dtype]
    if hasattr(value, "__array__"):
        array: Array = np.asarray(value)
        if array.dtype == dtype:
            return array
        hint = f"convert it: '{port.name}': x.astype('{dtype}')"
    else:
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise InputError(
                f"not a rectangular list of numbers; expected {describe(port.shape, port.dtype)}",
                where=f"input '{port.name}'",
            ) from error  # fmt: skip
        if array.dtype == dtype:
            return array
        if array.dtype.kind in "iuf" and dtype.kind == "f":
            return array.astype(dtype)
        if array.dtype.kind in "iu" and dtype.kind in "iu":
            limits = np.iinfo(dtype)
            if array.size == 0 or (array.min() >= limits.min and array.max() <= limits.max):
                return array.astype(dtype)
        hint = f"give values that {dtype} can hold exactly"
    raise InputError(
        f"expected {describe(port.shape, port.dtype)}, got {array.dtype} {list(array.shape)}",
        where=f"input '{port.name}'", hint=hint,
    )  # fmt: skip


def _shaped(port: Port, array: Array) -> Array:
    if array.shape == port.shape:
        return np.ascontiguousarray(array).reshape(port.shape)
    stack_of_one = array.shape[1:] == port.shape or (port.shape[:1] == (1,) and array.shape[1:] == port.shape[1:])
    hint = ""
    if stack_of_one:
        hint = "to run a stack of samples one by one: run(inputs, each=True), or --each"
    elif port.shape[:1] == (1,) and array.shape == port.shape[1:]:
        hint = f"the batch axis is missing: '{port.name}': x[None]"
    raise InputError(
        f"expected {describe(port.shape, port.dtype)}, got {array.dtype} {list(array.shape)}",
        where=f"input '{port.name}'", hint=hint,
    )  # fmt: skip


def _stack(port: Port, array: Array) -> Array:
    """``array`` as ``(n, *port.shape)``."""
    batch_is_one = port.shape[:1] == (1,)
    fits = array.ndim == len(port.shape) + 1 and array.shape[1:] == port.shape
    fits_batch = batch_is_one and array.ndim == len(port.shape) and array.shape[1:] == port.shape[1:]
    if not (fits or fits_batch):
        forms = f"[n, {', '.join(map(str, port.shape[1:] if batch_is_one else port.shape))}]"
        raise InputError(
            f"expected a stack {DTYPES[port.dtype]} {forms}, got {array.dtype} {list(array.shape)}",
            where=f"input '{port.name}'", hint="without each=True (--each) one sample is run",
        )  # fmt: skip
    if len(array) == 0:
        raise InputError("the stack holds no sample", where=f"input '{port.name}'")
    return np.ascontiguousarray(array).reshape(len(array), *port.shape)
