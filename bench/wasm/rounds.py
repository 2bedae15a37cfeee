"""One case: every engine seated in every place, its outputs compared, then all timed in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import cases
from bench.cases import Case, Pruned
from bench.engine import Array, CannotRun
from bench.environments import Unavailable
from bench.results import Result
from bench.rounds import Entry, Plan, largest_error, reference, time_in_turns
from bench.wasm.engines import Engine
from bench.wasm.places import Place
from bench.wasm.seating import Seating


def run_case(
    case: Case, seatings: Sequence[Seating], places: Mapping[str, Place], mounts: dict[str, Path], plan: Plan,
    stamp: Mapping[str, str], machine: Mapping[str, str], note: Callable[[str], None],
) -> list[Result]:  # fmt: skip
    """``mounts`` are the folders that are served; the case adds ``case`` for as long as it takes."""
    entries = [(seating, Entry(seating.engine.name)) for seating in seatings]
    builds: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        mounts["case"] = folder
        note("pruning" if case.sparsity else "reading")
        network = cases.pruned(case, folder)
        inputs = cases.random_input(list(network.inputs.values()))
        expected = reference(network, inputs)
        files = _Files(network, inputs, folder)
        for seating, entry in entries:
            note(f"preparing {seating}")
            builds.append(_prepare(seating, entry, places, files, expected, plan, stack))
        time_in_turns([entry for _, entry in entries], plan, note)
    facts = {name: {**machine, "engine": f"{name} {place.version}"} for name, place in places.items()}
    return [
        replace(entry.result(case, network, plan, stamp, facts[seating.place]), where=seating.place, **build)
        for (seating, entry), build in zip(entries, builds, strict=True)
    ]


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
                paths = {k: v if k in ("version", "isa") else f"/case/{name}/{v}" for k, v in written.items()}
                self._made[key] = {"version": engine.version, **paths, "inputs": self._inputs[engine.nhwc]}
        made = self._made[key]
        if isinstance(made, Exception):
            raise made
        return made


def _prepare(
    seating: Seating, entry: Entry, places: Mapping[str, Place], files: _Files, expected: Sequence[Array], plan: Plan,
    stack: ExitStack,
) -> dict[str, Any]:  # fmt: skip
    """Leaves ``entry`` with a seat whose outputs agree with ``expected``, or without one and with a reason.

    Returns what `Result` says of the build, as far as it came.
    """
    engine, build = seating.engine, {"backend": seating.backend, "code_bytes": None}
    with entry.judged(plan):
        options = files.options(engine, seating.backend)
        entry.source = seat = places[seating.place].seat(stack)
        loaded = seat.ask({"do": "prepare", "engine": engine.name, "options": options})
        entry.version = loaded["version"]
        build |= {key: loaded[key] for key in build}
        given = [_output(engine, y) for y in seat.ask({"do": "check"})["outputs"]]
        shapes = list(files.network.outputs.values())
        if len(given) == len(shapes):
            given = [
                y.reshape(shape) if y.size == np.prod(shape) else y for y, shape in zip(given, shapes, strict=True)
            ]
        entry.error = largest_error(expected, given)
    return build


def _output(engine: Engine, output: Mapping[str, Any]) -> Array:
    """JSON has no NaN: it arrives as null, and stays one here."""
    values: Array = np.array(output["data"], np.float64).astype(np.float32).reshape(output["shape"])
    return values.transpose(0, 3, 1, 2) if engine.nhwc and values.ndim == 4 else values
