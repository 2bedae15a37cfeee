"""One case: every engine prepared, its outputs compared, then all timed in turns."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from bench import cases, peers
from bench.cases import Case, Pruned
from bench.child import Child
from bench.engine import Array, CannotRun, Network
from bench.environments import Unavailable, python_for
from bench.process import ChildFailure
from bench.results import TIMED, Result
from bench.summary import summarise
from bench.wire import Message
from edgesparse.compare import output_error


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure. ``cpu``: the core of the first thread; ``runs`` timed inferences an engine, ``per_turn`` at a
    time, after ``warmup`` in the first turn.

    One untimed inference opens every later turn: the engine before has emptied the caches. ``tolerance`` is of
    the largest error relative to the largest output.
    """

    cpu: int
    threads: int
    runs: int
    per_turn: int
    warmup: int
    tolerance: float

    @property
    def cpus(self) -> tuple[int, ...]:
        """A core for each thread: ``cpu``, and the last others that this process may use."""
        others = [cpu for cpu in sorted(os.sched_getaffinity(0), reverse=True) if cpu != self.cpu]
        return (self.cpu, *others[: self.threads - 1])


class Timed(Protocol):
    """An engine that is loaded and fed."""

    def time(self, runs: int, warmup: int) -> Message:
        """As `bench.worker.time_runs`."""
        ...


@dataclass(slots=True)
class Entry:
    """An engine on its way to a `Result`."""

    engine: str
    source: Timed | None = None
    version: str = ""
    status: str = TIMED
    reason: str = ""
    error: float | None = None
    wall_ns: list[int] = field(default_factory=list)
    cpu_ns: list[int] = field(default_factory=list)
    preempted: int | None = None

    def drop(self, status: str, reason: str) -> None:
        self.source, self.status, self.reason = None, status, reason

    @contextmanager
    def judged(self, plan: Plan) -> Iterator[None]:
        """The body prepares and sets ``error``; where it fails or that is too large, the entry is dropped."""
        try:
            yield
        except Unavailable as error:
            self.drop("unavailable", f"{error}; to install it: {error.command}")
        except CannotRun as error:
            self.drop("cannot", str(error))
        except ChildFailure as error:
            self.drop("failed", str(error))
        else:
            largest = np.inf if self.error is None else self.error
            if not largest <= plan.tolerance:  # nor is a NaN
                self.drop("differs", f"the largest error is {largest:.2g} of the largest output")

    def time(self, runs: int, warmup: int) -> None:
        if self.source is None:
            return
        try:
            times = self.source.time(runs, warmup)
        except ChildFailure as error:
            self.drop("failed", f"while it was timed: {error}")
            return
        self.wall_ns += times["wall_ns"]
        self.cpu_ns += times["cpu_ns"] or []
        if times["preempted"] is not None:
            self.preempted = (self.preempted or 0) + times["preempted"]

    def result(
        self, case: Case, network: Pruned, plan: Plan, stamp: Mapping[str, str], machine: Mapping[str, str]
    ) -> Result:
        timed = self.status == TIMED
        return Result(
            run=stamp["run"], command=stamp["command"],
            model=case.model, pattern=case.pattern, sparsity=case.sparsity, zeros=round(network.zeros, 6),
            engine=self.engine, version=self.version, threads=plan.threads,
            status=self.status, reason=self.reason,
            # JSON has no infinity
            max_rel_error=self.error if self.error is not None and np.isfinite(self.error) else None,
            cpu=summarise(self.cpu_ns) if timed and self.cpu_ns else None,
            wall=summarise(self.wall_ns) if timed else None,
            preempted=self.preempted if timed else None,
            machine=machine,
        )  # fmt: skip


def time_in_turns(entries: Sequence[Entry], plan: Plan, note: Callable[[str], None]) -> None:
    turns = -(-plan.runs // plan.per_turn)
    for turn in range(turns):
        note(f"timing, turn {turn + 1} of {turns}")
        runs = min(plan.per_turn, plan.runs - turn * plan.per_turn)
        for entry in entries:
            entry.time(runs, plan.warmup if turn == 0 else 1)


def run_case(
    case: Case, engines: Sequence[str], plan: Plan, stamp: Mapping[str, str], machine: Mapping[str, str],
    note: Callable[[str], None],
) -> list[Result]:  # fmt: skip
    """``stamp`` holds ``run`` and ``command`` of the results; ``note`` is told what is going on."""
    entries = [Entry(name) for name in engines]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        note("pruning" if case.sparsity else "reading")
        network = cases.pruned(case, folder)
        inputs = cases.random_input(list(network.inputs.values()))
        expected = reference(network, inputs)
        for entry in entries:
            note(f"preparing {entry.engine}")
            _prepare(entry, network, inputs, expected, folder, plan, stack)
        time_in_turns(entries, plan, note)
    return [entry.result(case, network, plan, stamp, machine) for entry in entries]


def reference(network: Pruned, inputs: Sequence[Array]) -> list[Array]:
    """The native onnxruntime's outputs, whichever engines are timed."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(network.onnx), providers=["CPUExecutionProvider"])
    return list(session.run(list(network.outputs), dict(zip(network.inputs, inputs, strict=True))))


def _prepare(
    entry: Entry, network: Pruned, inputs: Sequence[Array], expected: Sequence[Array], folder: Path, plan: Plan,
    stack: ExitStack,
) -> None:  # fmt: skip
    """Leaves ``entry`` with a child that agrees with ``expected``, or without one and with a reason."""
    own = folder / entry.engine
    own.mkdir()
    with entry.judged(plan):
        python = python_for(entry.engine, peers.load(entry.engine))
        entry.source = child = stack.enter_context(Child(entry.engine, python, plan.cpus))
        entry.version = child.prepare(Network(network.onnx, network.inputs, network.outputs, own, plan.threads))
        entry.error = largest_error(expected, child.check(inputs))


def largest_error(expected: Sequence[Array], given: Sequence[Array]) -> float:
    """As `OutputError.max_rel`, of the worst output; infinite where number or shapes differ."""
    if [y.shape for y in expected] != [y.shape for y in given]:
        return float(np.inf)
    return max(output_error("", [a], [b]).max_rel for a, b in zip(expected, given, strict=True))
