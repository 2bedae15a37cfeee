"""What each layer would take on a device in each pattern, over sparsity: from where on zeros pay, and which pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgesparse.devices import load_device
from edgesparse.errors import InputError
from edgesparse.passes.pipeline import simplify
from edgesparse.passes.weights import Weight, find_weights
from edgesparse.patterns import Pattern, parse_pattern
from edgesparse.select import Candidate, measure_key
from edgesparse.sparsity.kernel_clock import KernelClock, Run
from edgesparse.sparsity.latency import LatencyPlan, allocate
from edgesparse.sparsity.layer_options import Progress, short_name
from edgesparse.sparsity.layer_times import LayerTimes, layer_times
from edgesparse.sparsity.magnitude_errors import LEVELS, levels_of, magnitude_errors
from edgesparse.sparsity.recipe import LayerRecipe, Recipe
from edgesparse.tune import measure as measure_alone
from edgesparse.tuned import remember, tuned
from edgesparse.types import LoweredGraph, OpCall, Shape, Target
from edgesparse.verify import check_model

if TYPE_CHECKING:
    import onnx_ir as ir

PATTERNS = ("unstructured", "block:2x1", "block:4x1")
MEASURED_LEVELS = (0.0, 0.3, 0.5, 0.7, 0.9)  # each is a bundle to build and run
RUNS_US = 30_000.0  # all runs of one kernel together, about
LEAST_RUNS, MOST_RUNS, WARMUP_RUNS = 30, 1000, 5
FASTER = 0.99  # of the dense time: what counts as beating it

Curve = Mapping[float, float]
"""Sparsity -> microseconds."""
Clock = LayerTimes | KernelClock


@dataclass(frozen=True, slots=True)
class WhatIfLayer:
    """``curves`` by pattern; at 0 it is the dense layer's time. ``refused``: patterns it cannot have, and why."""

    layer: str
    weight: str
    shape: Shape
    dense_us: float
    curves: Mapping[str, Curve]
    refused: Mapping[str, str]

    def break_even(self, pattern: str) -> float | None:
        """The sparsity from which on ``pattern`` beats dense, linear between the levels; None: at none.

        A pattern of one sparsity (N:M) has that one.
        """
        curve = self.curves[pattern]
        levels, limit = sorted(curve), FASTER * self.dense_us
        slow = [s for s in levels if curve[s] >= limit]
        last = max(slow, default=0.0)
        after = next((s for s in levels if s > last), None)
        if after is None:
            return None
        if len(levels) == 2:
            return after
        share = (curve[last] - limit) / (curve[last] - curve[after]) if curve[last] > limit else 0.0
        return last + share * (after - last)

    def best(self, sparsity: float) -> tuple[str, float] | None:
        """The fastest pattern at exactly ``sparsity``, and its microseconds; None: no pattern was looked at there."""
        found = {pattern: curve[sparsity] for pattern, curve in self.curves.items() if sparsity in curve}
        return min(found.items(), key=lambda each: each[1], default=None)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """``fixed_us`` is estimated: what all other layers take. ``dense``: weights that are not pruned (by default), and
    why.
    """

    device: str
    measured: bool
    layers: tuple[WhatIfLayer, ...]
    fixed_us: float
    dense: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        return "measured" if self.measured else "estimated"

    def total(self, pattern: str) -> Curve:
        """All layers together, each in ``pattern`` where it can be, else dense."""
        levels = sorted({s for layer in self.layers for s in layer.curves.get(pattern, {})})
        return {s: sum(layer.curves.get(pattern, {}).get(s, layer.dense_us) for layer in self.layers) for s in levels}

    def recipe(self, sparsity: float) -> Recipe:
        """The fastest pattern of each layer at ``sparsity``; layers where none beats dense are left out.

        Raises:
            InputError: ``sparsity`` was not looked at, or pays nowhere.
        """
        found = {}
        for layer in self.layers:
            best = layer.best(sparsity)
            if best is not None and best[1] < FASTER * layer.dense_us:
                found[layer.layer] = LayerRecipe(pattern=best[0], sparsity=sparsity)
        if not found:
            raise InputError(
                f"no pattern beats dense at {sparsity:g} in any layer on {self.device}", where="recipe",
                hint="ask for more sparsity, or for other patterns",
            )  # fmt: skip
        note = f"fastest patterns at {sparsity:g} on {self.device}, {self.source}"
        return Recipe(schema_version=1, note=note, layers=found)


def whatif(
    model: ir.Model, device: str = "host", patterns: Sequence[str] = PATTERNS, *, sparsity: float | None = None,
    measure: bool = False, runtime: str = "auto", on_progress: Progress | None = None,
) -> WhatIf:  # fmt: skip
    """Impose each pattern at each sparsity on each layer, and see what it takes on ``device``; not in place.

    Predicted, unless ``measure``: then kernels run one by one as with `tune`, and what was measured is stored at once
    and known the next time, so that the call can be interrupted. ``sparsity`` is looked at beside the usual levels.

    Raises:
        InputError: an unknown pattern or device, or a model without a layer that can be pruned.
        RuntimeFailure: the runtime is missing or failed.
    """
    parsed = [parse_pattern(text) for text in dict.fromkeys(patterns)]
    if not parsed:
        raise InputError("no patterns to look at", where="--patterns", hint=f"for example {','.join(PATTERNS)}")
    if sparsity is not None and not 0 < sparsity < 1:
        raise InputError(f"sparsity {sparsity:g} is outside of (0, 1)", hint="0.7 sets 70% of the weights to zero")
    target = load_device(device).target
    copy, weights, dense = prunable(model)
    levels = sorted({*(MEASURED_LEVELS if measure else LEVELS), *([] if sparsity is None else [sparsity])})
    times = layer_times(copy, weights, target, tuned(target))
    clock: Clock = KernelClock(times, _remembering(target, runtime)) if measure else times
    layers = []
    for done, weight in enumerate(weights):

        def say(what: str, done: int = done, name: str = short_name(weight)) -> None:
            if on_progress:
                on_progress(done, len(weights), f"{what} in {name}")

        say("dense")
        layers.append(_layer(weight, parsed, levels, clock, say))
    return WhatIf(target.name, measure, tuple(layers), times.fixed_us, dense)


def plan_for_speedup(
    model: ir.Model, device: str, patterns: Sequence[str], speedup: float, *, measure: bool | None = None,
    on_progress: Progress | None = None,
) -> LatencyPlan:  # fmt: skip
    """The recipe that makes the network ``speedup`` times as fast at the least loss of magnitude, see `allocate`."""
    parsed = [parse_pattern(text) for text in dict.fromkeys(patterns)]
    copy, weights, _ = prunable(model)
    errors = magnitude_errors(weights, parsed)
    return allocate(copy, weights, parsed, errors, device, speedup=speedup, measure=measure, on_progress=on_progress)


def prunable(model: ir.Model) -> tuple[ir.Model, list[Weight], dict[str, str]]:
    """A simplified copy of ``model``, its weights that are pruned by default, and why others are not.

    Raises:
        InputError: there is none; the message says why of each layer.
    """
    copy = check_model(model).clone()
    simplify(copy)
    found = find_weights(copy)
    dense = {short_name(weight): weight.dense for weight in found if weight.dense}
    weights = [weight for weight in found if not weight.dense]
    if not weights:
        lines = "".join(f"\n  - {name}: {reason}" for name, reason in dense.items()) or " it has no constant weights"
        raise InputError(
            f"no layer can be pruned:{lines}", where=model.graph.name or "model",
            hint="layers that can: Conv (group 1), Gemm and MatMul with constant weights, but the first and the last",
        )  # fmt: skip
    return copy, weights, dense


def _layer(
    weight: Weight, patterns: Sequence[Pattern], levels: Sequence[float], clock: Clock, say: Callable[[str], None]
) -> WhatIfLayer:
    array, depthwise = weight.array(), weight.depthwise
    dense_us = clock.layer_us(weight.name)
    curves: dict[str, Curve] = {}
    refused: dict[str, str] = {}
    for pattern in patterns:
        reason = pattern.refuses(array.shape, depthwise)
        if reason:
            refused[pattern.text] = reason
            continue
        curve = {0.0: dense_us}
        for level in levels_of(pattern, levels):
            if level:
                say(f"{pattern.text} at {level:g}")
                curve[level] = clock.layer_us(weight.name, pattern.mask(np.abs(array), level))
        curves[pattern.text] = curve
    return WhatIfLayer(short_name(weight), weight.name, tuple(array.shape), dense_us, curves, refused)


def _remembering(target: Target, runtime: str) -> Run:
    """Runs a kernel unless it is known from an earlier call; what is measured is stored at once, as `tune` does."""
    known = dict(tuned(target).us)

    def run(graph: LoweredGraph, call: OpCall, candidate: Candidate) -> float:
        key = measure_key(call, candidate.binding, candidate.label)
        if key not in known:
            runs = max(LEAST_RUNS, min(MOST_RUNS, int(RUNS_US / max(candidate.binding.predicted_us, 1.0))))
            known[key] = measure_alone(graph, call, candidate, target, runtime, runs, WARMUP_RUNS)
            remember(target, known)
        return known[key]

    return run
