"""One case: every engine seated in every place, its outputs compared, then all timed in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import cases
from bench.cases import Case, Pruned
from bench.child import ChildFailure
from bench.engine import Array, CannotRun
from bench.environments import Unavailable
from bench.results import TIMED, Result
from bench.rounds import Plan, largest_error
from bench.summary import summarise
from bench.wasm.engines import Engine
from bench.wasm.places import Place, Seat
from bench.wasm.seating import Seating


@dataclass(slots=True)
class _Entry:
    """An engine in a place, on its way to a `Result`."""

    seating: Seating
    seat: Seat | None = None
    version: str = ""
    backend: str = ""
    code_bytes: int | None = None
    status: str = TIMED
    reason: str = ""
    error: float | None = None
    wall_ns: list[int] = field(default_factory=list)
    cpu_ns: list[int] = field(default_factory=list)
    preempted: int | None = None

    def drop(self, status: str, reason: str) -> None:
        self.seat, self.status, self.reason = None, status, reason


def run_case(
    case: Case, seatings: Sequence[Seating], places: Mapping[str, Place], mounts: dict[str, Path], plan: Plan,
    stamp: Mapping[str, str], machine: Mapping[str, str], note: Callable[[str], None],
) -> list[Result]:  # fmt: skip
    """``mounts`` are the folders that are served; the case adds ``case`` for as long as it takes."""
    entries = [_Entry(seating, backend=seating.backend) for seating in seatings]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        mounts["case"] = folder
        note("pruning" if case.sparsity else "reading")
        network = cases.pruned(case, folder)
        inputs = cases.random_input(list(network.inputs.values()))
        expected = _reference(network, inputs)
        files = _Files(network, inputs, folder)
        for entry in entries:
            note(f"preparing {entry.seating}")
            _prepare(entry, places, files, expected, plan, stack)
        turns = -(-plan.runs // plan.per_turn)
        for turn in range(turns):
            note(f"timing, turn {turn + 1} of {turns}")
            runs = min(plan.per_turn, plan.runs - turn * plan.per_turn)
            for entry in entries:
                _time(entry, runs, plan.warmup if turn == 0 else 1)
    facts = {name: {**machine, "engine": f"{name} {place.version}"} for name, place in places.items()}
    return [_result(entry, case, network, plan, stamp, facts[entry.seating.place]) for entry in entries]


def _reference(network: Pruned, inputs: Sequence[Array]) -> list[Array]:
    """Those of the native onnxruntime."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(network.onnx), providers=["CPUExecutionProvider"])
    return list(session.run(list(network.outputs), dict(zip(network.inputs, inputs, strict=True))))


class _Files:
    """What the engines of one case read, written once for all places."""

    def __init__(self, network: Pruned, inputs: Sequence[Array], folder: Path) -> None:
        self.network, self._folder = network, folder
        self._inputs: dict[bool, list[dict[str, Any]]] = {}
        self._made: dict[tuple[str, str], dict[str, Any] | Exception] = {}
        for nhwc in (False, True):
            listed = []
            for i, x in enumerate(inputs):
                values = x.transpose(0, 2, 3, 1) if nhwc and x.ndim == 4 else x
                name = f"input{i}{'-nhwc' if nhwc else ''}.bin"
                (folder / name).write_bytes(np.ascontiguousarray(values).tobytes())
                listed.append({"path": f"/case/{name}", "shape": list(values.shape)})
            self._inputs[nhwc] = listed

    def options(self, engine: Engine, backend: str) -> dict[str, Any]:
        """For web/ENGINE.mjs. Raises CannotRun, or what else happened the first time it was tried."""
        key = engine.name, backend
        if key not in self._made:
            name = "-".join(filter(None, key))
            own = self._folder / name
            own.mkdir()
            try:
                written = engine.write(self.network, own, backend)
            except (CannotRun, Unavailable) as error:
                self._made[key] = error
            else:
                paths = {k: v if k == "version" else f"/case/{name}/{v}" for k, v in written.items()}
                self._made[key] = {"version": engine.version, **paths, "inputs": self._inputs[engine.nhwc]}
        made = self._made[key]
        if isinstance(made, Exception):
            raise made
        return made


def _prepare(
    entry: _Entry, places: Mapping[str, Place], files: _Files, expected: Sequence[Array], plan: Plan, stack: ExitStack
) -> None:
    """Leaves ``entry`` with a seat whose outputs agree with ``expected``, or without one and with a reason."""
    engine = entry.seating.engine
    try:
        options = files.options(engine, entry.seating.backend)
        entry.seat = seat = places[entry.seating.place].seat(stack)
        loaded = seat.ask({"do": "prepare", "engine": engine.name, "options": options})
        entry.version, entry.backend, entry.code_bytes = loaded["version"], loaded["backend"], loaded["code_bytes"]
        given = [_output(engine, y) for y in seat.ask({"do": "check"})["outputs"]]
        shapes = list(files.network.outputs.values())
        if len(given) == len(shapes):
            given = [
                y.reshape(shape) if y.size == np.prod(shape) else y for y, shape in zip(given, shapes, strict=True)
            ]
        entry.error = largest_error(expected, given)
    except Unavailable as error:
        entry.drop("unavailable", f"{error}; to install it: {error.command}")
    except CannotRun as error:
        entry.drop("cannot", str(error))
    except ChildFailure as error:
        entry.drop("failed", str(error))
    else:
        if not entry.error <= plan.tolerance:
            entry.drop("differs", f"the largest error is {entry.error:.2g} of the largest output")


def _output(engine: Engine, output: Mapping[str, Any]) -> Array:
    """JSON has no NaN: it arrives as null, and stays one here."""
    values: Array = np.array(output["data"], np.float64).astype(np.float32).reshape(output["shape"])
    return values.transpose(0, 3, 1, 2) if engine.nhwc and values.ndim == 4 else values


def _time(entry: _Entry, runs: int, warmup: int) -> None:
    if entry.seat is None:
        return
    try:
        times = entry.seat.ask({"do": "time", "runs": runs, "warmup": warmup})
    except ChildFailure as error:
        entry.drop("failed", f"while it was timed: {error}")
        return
    entry.wall_ns += times["wall_ns"]
    entry.cpu_ns += times["cpu_ns"] or []
    if times["preempted"] is not None:
        entry.preempted = (entry.preempted or 0) + times["preempted"]


def _result(
    entry: _Entry, case: Case, network: Pruned, plan: Plan, stamp: Mapping[str, str], machine: Mapping[str, str]
) -> Result:
    timed = entry.status == TIMED
    return Result(
        run=stamp["run"], command=stamp["command"],
        model=case.model, pattern=case.pattern, sparsity=case.sparsity, zeros=round(network.zeros, 6),
        engine=entry.seating.engine.name, version=entry.version, threads=plan.threads,
        status=entry.status, reason=entry.reason,
        # JSON has no infinity
        max_rel_error=entry.error if entry.error is not None and np.isfinite(entry.error) else None,
        cpu=summarise(entry.cpu_ns) if timed and entry.cpu_ns else None,
        wall=summarise(entry.wall_ns) if timed else None,
        preempted=entry.preempted if timed else None,
        machine=machine,
        where=entry.seating.place, backend=entry.backend, code_bytes=entry.code_bytes,
    )  # fmt: skip
