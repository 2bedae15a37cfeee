"""`Session`, what every runtime opens: runs and times a bundle."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.manifest_decoder import DecoderFacts
from edgesparse.runtimes import generation
from edgesparse.runtimes.arrays import Inputs, Sample, check_inputs, stack_outputs
from edgesparse.types import Array, CallTimes, RunResult

if sys.version_info >= (3, 11):
    from typing import Self
else:
    from typing_extensions import Self

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

    def generate(
        self, prompt: Sequence[int], request: generation.Request, on_token: generation.OnToken | None = None
    ) -> generation.Generated:
        """Continue the tokens ``prompt``; ``on_token`` is called with each new one while the others are still to come.

        Raises:
            InputError: no language model, a prompt that does not fit, or a number that cannot be.
            RuntimeFailure: the engine failed, or this runtime cannot generate.
        """
        decoder = generation.facts_of(self.manifest, self.bundle)
        request.check()
        generation.check_prompt(decoder, prompt, request.sliding)
        return self.generate_tokens(decoder, prompt, request, on_token)

    def score(self, windows: Array, dense: bool = False) -> tuple[Array, generation.Cost]:
        """``windows``: (n, w) tokens -> (n, w - 1), -log of the probability of each but the first of its window.

        Raises:
            InputError, RuntimeFailure: as `generate`.
        """
        decoder = generation.facts_of(self.manifest, self.bundle)
        if windows.ndim != 2 or windows.shape[0] < 1 or not 2 <= windows.shape[1] <= decoder.context + 1:
            raise InputError(
                f"windows {list(windows.shape)}", where="windows",
                hint=f"one or more, of 2 to {decoder.context + 1} tokens: the context and what comes after it",
            )  # fmt: skip
        generation.check_tokens(decoder, windows)
        return self.score_tokens(decoder, windows, dense)

    def generate_tokens(
        self, decoder: DecoderFacts, prompt: Sequence[int], request: generation.Request,
        on_token: generation.OnToken | None,
    ) -> generation.Generated:  # fmt: skip
        """As `generate`; the arguments have been checked."""
        return generation.generate(self.held(), decoder, prompt, request, on_token)

    def score_tokens(self, decoder: DecoderFacts, windows: Array, dense: bool) -> tuple[Array, generation.Cost]:
        """As `score`; the arguments have been checked."""
        return generation.score(self.held(), decoder, windows, dense)

    def held(self) -> generation.Held:
        """Inputs and outputs that stay in place from run to run.

        Raises:
            RuntimeFailure: this runtime has none.
        """
        raise RuntimeFailure(
            f"the runtime {self.machine.get('runtime', '')} cannot generate", where=str(self.bundle),
            hint="--runtime local, qemu, wasmtime, node, adb and ssh can",
        )  # fmt: skip

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
        generation.refuse(self.manifest, self.bundle)
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
