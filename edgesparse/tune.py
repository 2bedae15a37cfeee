"""Measure the kernels that a model could use on the device itself, so that selection need not predict."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse import runtimes
from edgesparse.build import build
from edgesparse.bundle import write
from edgesparse.compile import lowered
from edgesparse.devices import load_device
from edgesparse.emit import emit
from edgesparse.ops.view import PLACED
from edgesparse.plan import plan
from edgesparse.samples import random_inputs
from edgesparse.select import Candidate, candidates, measure_key, packed
from edgesparse.tuned import remember, tuned, tuned_path
from edgesparse.types import LoweredGraph, OpCall, Selection, Step, Target
from edgesparse.version import __version__
from edgesparse.workspace import workspace

if TYPE_CHECKING:
    import onnx_ir as ir

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class TunedLayer:
    """``us``: measured microseconds of each kernel, fastest first; ``predicted`` is what would have been chosen."""

    layer: str
    op: str
    predicted: str
    us: Mapping[str, float]

    @property
    def gain(self) -> float:
        """How many times faster the measured choice is than the predicted one, 1 or more."""
        return self.us[self.predicted] / min(self.us.values())


@dataclass(frozen=True, slots=True)
class TuneReport:
    """``measured`` of the ``layers``' kernels were new, the others were known from earlier calls."""

    device: str
    file: str
    measured: int
    layers: tuple[TunedLayer, ...]


def tune(
    model: ir.Model, device: str = "host", runtime: str = "auto", *, precision: str = "f32", num_runs: int = 30,
    warmup_runs: int = 5, force: bool = False, on_progress: Progress | None = None,
) -> TuneReport:  # fmt: skip
    """Time every kernel that could compute each layer of ``model``, alone, on ``device``.

    What is measured is stored after each kernel, by device, geometry and number of kept weights: an interrupted
    call goes on where it was, and `compile` in that ``precision`` uses it from then on. ``force`` measures again what
    is known.

    Raises:
        InputError, UnsupportedError: as `compile_model`.
        RuntimeFailure: the runtime is missing or failed.
    """
    target = load_device(device).target_in(precision)
    graph, _ = lowered(model, target)
    known = {} if force else dict(tuned(target).us)
    work = list(_work(graph, target))
    missing = {measure_key(call, c.binding, c.label): (call, c) for call, found in work for c in found}
    missing = {key: value for key, value in missing.items() if key not in known}
    for done, (key, (call, candidate)) in enumerate(missing.items()):
        if on_progress:
            on_progress(done, len(missing), f"{call.layer}: {candidate.label}")
        known[key] = measure(graph, call, candidate, target, runtime, num_runs, warmup_runs)
        remember(target, known)
    layers = []
    for call, found in work:
        us = {c.label: known[measure_key(call, c.binding, c.label)] for c in found}
        layers.append(TunedLayer(call.layer, call.op, found[0].label, dict(sorted(us.items(), key=lambda e: e[1]))))
    return TuneReport(target.name, str(tuned_path(target)), len(missing), tuple(layers))


def _work(graph: LoweredGraph, target: Target) -> Iterator[tuple[OpCall, list[Candidate]]]:
    """The calls that have a choice."""
    for call in graph.calls:
        found = candidates(call, graph, target)[0] if call.op not in PLACED else []
        if len(found) > 1:
            yield call, found


def measure(
    graph: LoweredGraph, call: OpCall, candidate: Candidate, target: Target, runtime: str, num_runs: int,
    warmup_runs: int,
) -> float:  # fmt: skip
    """The median of ``num_runs`` runs of a bundle that is nothing but this call, in microseconds."""
    with alone(graph, call, candidate, target, runtime) as session:
        result = session.bench(random_inputs(session.manifest), num_runs=num_runs, warmup_runs=warmup_runs)
    return statistics.median(result.wall_ns) / 1000


@contextmanager
def alone(
    graph: LoweredGraph, call: OpCall, candidate: Candidate, target: Target, runtime: str
) -> Iterator[runtimes.Session]:
    """An opened bundle that is nothing but ``call``, computed by ``candidate``."""
    step = Step(call, packed(candidate.binding), candidate.kernels)
    with opened(Selection(_alone(graph, call), (step,), {call.name: ()}, target.isas), target, runtime) as session:
        yield session


@contextmanager
def opened(selection: Selection, target: Target, runtime: str) -> Iterator[runtimes.Session]:
    """A bundle of ``selection`` in a temporary folder, opened."""
    memory = plan(selection)
    sources = emit(selection, memory, "tune")
    artifact = build(sources, selection, target)
    with workspace(Path(tempfile.gettempdir())) as folder:
        bundle = folder / "tune.edge"
        write(artifact, sources, selection, memory, target, bundle, name="tune", version=__version__)
        with runtimes.open(bundle, runtime) as session:
            yield session


def _alone(graph: LoweredGraph, call: OpCall) -> LoweredGraph:
    """``call`` as a graph: its activations are inputs, in the layout they have in ``graph``."""
    names = {*call.inputs, *call.outputs}
    tensors = {
        n: replace(spec, shape=spec.buffer_shape, pitch=0) for n, spec in graph.tensors.items() if n in names
    }  # fmt: skip
    inputs = tuple(dict.fromkeys(n for n in call.inputs if n not in graph.constants))
    constants = {n: a for n, a in graph.constants.items() if n in names}
    return LoweredGraph(tensors, (call,), constants, inputs, call.outputs)
