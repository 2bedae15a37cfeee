"""One case: every engine prepared, its outputs compared, then all timed in turns."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench import cases, peers
from bench.cases import Case, Pruned
from bench.child import Child, ChildFailure
from bench.engine import Array, CannotRun, Network
from bench.environments import Unavailable, python_for
from bench.results import TIMED, Result
from bench.summary import summarise
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


@dataclass(slots=True)
class _Entry:
    """An engine on its way to a `Result`."""

    engine: str
    child: Child | None = None
    version: str = ""
    status: str = TIMED
    reason: str = ""
    error: float | None = None
    wall_ns: list[int] = field(default_factory=list)
    cpu_ns: list[int] = field(default_factory=list)
    preempted: int = 0

    def drop(self, status: str, reason: str) -> None:
        self.child, self.status, self.reason = None, status, reason


def run_case(
    case: Case, engines: Sequence[str], plan: Plan, stamp: Mapping[str, str], machine: Mapping[str, str],
    note: Callable[[str], None],
) -> list[Result]:  # fmt: skip
    """``stamp`` holds ``run`` and ``command`` of the results; ``note`` is told what is going on."""
    entries = [_Entry(name) for name in engines]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        note("pruning" if case.sparsity else "reading")
        network = cases.pruned(case, folder)
        inputs = cases.random_input(list(network.inputs.values()))
        expected = _reference(network, inputs)
        for entry in entries:
            note(f"preparing {entry.engine}")
            _prepare(entry, network, inputs, expected, folder, plan, stack)
        turns = -(-plan.runs // plan.per_turn)
        for turn in range(turns):
            note(f"timing, turn {turn + 1} of {turns}")
            runs = min(plan.per_turn, plan.runs - turn * plan.per_turn)
            for entry in entries:
                _time(entry, runs, plan.warmup if turn == 0 else 1)
    return [_result(entry, case, network, plan, stamp, machine) for entry in entries]


def _reference(network: Pruned, inputs: Sequence[Array]) -> list[Array]:
    """onnxruntime's outputs, whichever engines are timed."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(network.onnx), providers=["CPUExecutionProvider"])
    return list(session.run(list(network.outputs), dict(zip(network.inputs, inputs, strict=True))))


def _prepare(
    entry: _Entry, network: Pruned, inputs: Sequence[Array], expected: Sequence[Array], folder: Path, plan: Plan,
    stack: ExitStack,
) -> None:  # fmt: skip
    """Leaves ``entry`` with a child that agrees with ``expected``, or without one and with a reason."""
    own = folder / entry.engine
    own.mkdir()
    try:
        python = python_for(entry.engine, peers.load(entry.engine))
        entry.child = child = stack.enter_context(Child(entry.engine, python, plan.cpus))
        entry.version = child.prepare(Network(network.onnx, network.inputs, network.outputs, own, plan.threads))
        entry.error = largest_error(expected, child.check(inputs))
    except Unavailable as error:
        entry.drop("unavailable", f"{error}; to install it: {error.command}")
    except CannotRun as error:
        entry.drop("cannot", str(error))
    except ChildFailure as error:
        entry.drop("failed", str(error))
    else:
        if not entry.error <= plan.tolerance:
            entry.drop("differs", f"the largest error is {entry.error:.2g} of the largest output")


def largest_error(expected: Sequence[Array], given: Sequence[Array]) -> float:
    """As `OutputError.max_rel`, of the worst output; infinite where number or shapes differ."""
    if [y.shape for y in expected] != [y.shape for y in given]:
        return float(np.inf)
    return max(output_error("", [a], [b]).max_rel for a, b in zip(expected, given, strict=True))


def _time(entry: _Entry, runs: int, warmup: int) -> None:
    if entry.child is None:
        return
    try:
        times = entry.child.time(runs, warmup)
    except ChildFailure as error:
        entry.drop("failed", f"while it was timed: {error}")
        return
    entry.wall_ns += times["wall_ns"]
    entry.cpu_ns += times["cpu_ns"]
    entry.preempted += times["preempted"]


def _result(
    entry: _Entry, case: Case, network: Pruned, plan: Plan, stamp: Mapping[str, str], machine: Mapping[str, str]
) -> Result:
    timed = entry.status == TIMED
    return Result(
        run=stamp["run"], command=stamp["command"],
        model=case.model, pattern=case.pattern, sparsity=case.sparsity, zeros=round(network.zeros, 6),
        engine=entry.engine, version=entry.version, threads=plan.threads,
        status=entry.status, reason=entry.reason,
        # JSON has no infinity
        max_rel_error=entry.error if entry.error is not None and np.isfinite(entry.error) else None,
        cpu=summarise(entry.cpu_ns) if timed else None,
        wall=summarise(entry.wall_ns) if timed else None,
        preempted=entry.preempted if timed else None,
        machine=machine,
    )  # fmt: skip
