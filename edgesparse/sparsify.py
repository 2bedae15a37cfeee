"""Set weights of a model to zero, in a pattern. The result is ONNX that any runtime executes.

What is decided where: patterns say which weights go together (`patterns`), an allocation how many of each layer
(`sparsity.allocation`, `sparsity.latency`), rearranging which channels are neighbours (`passes.rearrange_channels`), a
method which units stay and what the others become (`sparsity.masks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgesparse.errors import InputError
from edgesparse.passes.pipeline import simplify
from edgesparse.passes.rearrange_channels import Gain, RearrangeChannels
from edgesparse.passes.weights import Weight
from edgesparse.patterns import Pattern, parse_pattern
from edgesparse.sparsity.allocation import ALLOCATIONS
from edgesparse.sparsity.batchnorm import reestimate_batchnorms
from edgesparse.sparsity.calibration import Samples, check_samples
from edgesparse.sparsity.chosen import KeptDense, Plan, chosen_weights, nothing_to_prune, planned, weight_names
from edgesparse.sparsity.layer import layer_of, moments_of
from edgesparse.sparsity.magnitude_errors import magnitude_errors
from edgesparse.sparsity.masks import CALIBRATED, METHODS, calibrated_magnitude, choose, random_mask
from edgesparse.sparsity.recipe import Recipe
from edgesparse.sparsity.record import record
from edgesparse.sparsity.traces import error_traces
from edgesparse.types import Array, Shape
from edgesparse.verify import check_model

if TYPE_CHECKING:
    from edgesparse.sparsity.latency import LatencyPlan

LATENCY = "latency"
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What happened to one weight. ``shape`` is (Co, Ci, *kernel); shares are in [0, 1].

    ``kept_magnitude``: the share of ``sum |w|`` that the mask keeps, 1 for a weight of zeros; ``random_magnitude`` that
    of a random mask with as many zeros. ``natural_share`` and ``rearranged_share``, where channels were rearranged: the
    share of importance that the pattern can keep before and after: of ``|w|``, or of `calibrated_magnitude` where the
    method looks at samples. ``error``: ``E|y - y_dense|^2 / E|y_dense|^2`` of the layer's output on the calibration
    samples, behind pruned predecessors; ``random_error`` with a random mask, its bias re-estimated. ``remark``: what
    did not go as asked for, or "".
    """

    name: str
    nodes: tuple[str, ...]
    shape: Shape
    pattern: str
    sparsity: float
    method: str
    zeros_before: float
    zeros: float
    kept_magnitude: float
    random_magnitude: float
    natural_share: float | None = None
    rearranged_share: float | None = None
    error: float | None = None
    random_error: float | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class SparsifyReport:
    """``sparsity`` is what was asked of each pruned weight (or of all together), see ``allocation``.

    ``rearranged`` counts the weights whose channels changed places; ``latency`` is there where one was asked for.
    """

    pattern: str
    sparsity: float
    method: str
    allocation: str
    layers: tuple[Pruned, ...]
    dense: tuple[KeptDense, ...]
    samples: int = 0
    rearranged: int = 0
    latency: LatencyPlan | None = None

    @property
    def zeros(self) -> float:
        """The share of zeros in all pruned weights together."""
        sizes = [prod(layer.shape) for layer in self.layers]
        return sum(layer.zeros * size for layer, size in zip(self.layers, sizes, strict=True)) / sum(sizes)


def sparsify(
    model: ir.Model, pattern: str | Pattern | Sequence[str] = "", sparsity: float | None = None,
    method: str | None = None, allocation: str = "uniform", keep: Sequence[str] = (), include: Sequence[str] = (), *,
    calibration: Samples | Iterable[Samples] | None = None, rearrange: bool = True, recipe: Recipe | None = None,
    device: str = "host", target_ms: float | None = None, speedup: float | None = None,
    on_progress: Progress | None = None,
) -> SparsifyReport:  # fmt: skip
    """Simplify ``model``, then set units of ``pattern`` to zero, in place.

    Prunes convolutions, Gemm and MatMul with constant weights. The first convolution, the classifier and depthwise
    convolutions stay dense. ``keep`` leaves more layers dense and ``include`` prunes those: names of nodes or
    initializers, before or after simplification, with ``*`` and ``?`` as wildcards. What was done to each layer is
    recorded in ``model.metadata_props["edgesparse.sparsity"]`` as JSON.

    Args:
        sparsity: the share of units to zero, in [0, 1). N:M and tap patterns have their own.
        method: "magnitude"; "random"; and with ``calibration`` "wanda", "sparsegpt" and "obc", of which the last two
            move the weights that stay, so that each layer's output changes as little as it can. Default: "obc" with
            ``calibration``, else "magnitude".
        allocation: "uniform": of every weight; "erk"; "global": of all weights ranked together; "latency": what
            ``target_ms`` or ``speedup`` on ``device`` needs, from several ``pattern`` if given.
        calibration: one array per input of the model, samples stacked on axis 0, or an iterator of such mappings.
        rearrange: order channels so that blocks keep more, where the pattern has blocks and the network allows it.
            Inputs and outputs of the model stay as they are.
        recipe: pattern and sparsity for each layer, in the place of ``pattern``, ``sparsity`` and ``allocation``.

    Raises:
        InputError: an option, name or sample that cannot be used, NaN weights, or nothing to prune.
    """
    if target_ms is not None or speedup is not None:
        allocation = LATENCY
    patterns = _patterns(pattern, recipe, allocation)
    sparsity = _sparsity(patterns, sparsity, recipe, allocation)
    method = method or ("magnitude" if calibration is None else "obc")
    _one_of("method", method, METHODS)
    _one_of("allocation", allocation, (*ALLOCATIONS, LATENCY))
    if method in CALIBRATED and calibration is None:
        raise InputError(f"method '{method}' needs calibration samples", hint="--calibration x.npz, or magnitude")
    if allocation == LATENCY and (target_ms is None) == (speedup is None):
        raise InputError("allocation 'latency' needs a target", hint="--target-latency 8ms or --speedup 2")
    before = weight_names(check_model(model))
    simplify(model)
    samples = None if calibration is None else check_samples(model, calibration)
    fits = [*patterns] if recipe is None else [parse_pattern(x.pattern) for x in recipe.layers.values()]
    chosen, dense = chosen_weights(model, before, fits, keep, include)
    latency = None
    if recipe is not None:
        plan, more = planned(chosen, recipe, before, weight_names(model))
        dense += more
    elif allocation == LATENCY:
        from edgesparse.sparsity.latency import allocate  # brings the compiler

        errors = (
            magnitude_errors(chosen, patterns) if samples is None else error_traces(model, chosen, patterns, samples)
        )
        latency = allocate(
            model, chosen, patterns, errors, device, target_ms=target_ms, speedup=speedup, on_progress=on_progress
        )
        plan, more = planned(
            chosen, latency.recipe, before, weight_names(model), "faster dense, or not needed for the target"
        )
        dense += more
    else:
        arrays = {w.name: w.array() for w in chosen}
        shares = ALLOCATIONS[allocation](arrays, dict.fromkeys(arrays, patterns[0]), sparsity)
        plan = {name: (patterns[0], share) for name, share in shares.items()}
    todo = tuple(w for w in chosen if w.name in plan)
    if not todo:
        nothing_to_prune(model, dense)
    gains: dict[str, Gain] = {}
    rearranged = 0
    if rearrange:
        if on_progress is not None:
            on_progress(0, len(todo), "rearranging channels")
        gains, rearranged = _rearrange(model, todo, plan, samples if method in CALIBRATED else None)
    layers = _prune(model, todo, plan, method, samples, gains, on_progress)
    record(model, layers)
    text = " ".join(dict.fromkeys(p.text for p, _ in plan.values()))
    count = 0 if samples is None else len(next(iter(samples.values())))
    return SparsifyReport(text, sparsity, method, allocation, layers, tuple(dense), count, rearranged, latency)


def _patterns(given: str | Pattern | Sequence[str], recipe: Recipe | None, allocation: str) -> list[Pattern]:
    if recipe is not None:
        if given:
            raise InputError("a recipe says the pattern of each layer", hint="leave --pattern out, or --recipe")
        return []
    texts = given.split(",") if isinstance(given, str) else list(given) if isinstance(given, Sequence) else [given]
    found = [parse_pattern(t) if isinstance(t, str) else t for t in texts]
    if len(found) > 1 and allocation != LATENCY:
        raise InputError(f"{len(found)} patterns: only allocation 'latency' chooses among several", hint="give one")
    return found


def _sparsity(patterns: Sequence[Pattern], given: float | None, recipe: Recipe | None, allocation: str) -> float:
    """Of each layer or of all together; 0 where it is said elsewhere."""
    if recipe is not None or allocation == LATENCY:
        if given is not None:
            raise InputError("sparsity is what a recipe, or a target for the latency, decides", hint="leave it out")
        return 0.0
    fixed = patterns[0].fixed_sparsity
    if given is None:
        if fixed is None:
            raise InputError(f"pattern '{patterns[0].text}' needs a sparsity", hint="--sparsity 0.7 zeroes 70%")
        given = fixed
    if not 0 <= given < 1:
        raise InputError(f"sparsity {given:g} is outside of [0, 1)", hint="0.7 sets 70% of the weights to zero")
    if fixed is not None and abs(given - fixed) > 1e-3:
        raise InputError(
            f"sparsity {given:g}, but '{patterns[0].text}' always has {fixed:.4g}", hint="leave the sparsity out"
        )
    if fixed is not None and allocation not in ("uniform", LATENCY):
        raise InputError(
            f"allocation '{allocation}' shares sparsity out, but '{patterns[0].text}' has the same in every layer",
            hint="leave the allocation out",
        )
    return given


def _rearrange(
    model: ir.Model, weights: tuple[Weight, ...], plan: Plan, samples: Samples | None
) -> tuple[dict[str, Gain], int]:
    """What it gains each weight, and how many weights have their channels in another order now."""
    importance = None
    if samples is not None:
        importance = {}
        for weight in weights:
            layer = layer_of(weight)
            if not layer.why_not:
                moments = moments_of(layer, model, model, samples)
                importance[weight.name] = calibrated_magnitude(weight.array(), moments)
    rearrange = RearrangeChannels(
        weights, {n: p for n, (p, _) in plan.items()}, {n: s for n, (_, s) in plan.items()}, importance
    )
    rearrange(model)
    moved = sum(
        any(not np.array_equal(one, np.arange(len(one))) for one in both) for both in rearrange.permutations.values()
    )
    return {gain.name: gain for gain in rearrange.gains}, moved


def _prune(
    model: ir.Model, weights: Sequence[Weight], plan: Plan, method: str, samples: Samples | None,
    gains: Mapping[str, Gain], on_progress: Progress | None,
) -> tuple[Pruned, ...]:  # fmt: skip
    """Each weight after those before it, so that with samples it can make up for what they lost."""
    dense_model = model if samples is None else model.clone()
    done = []
    for number, weight in enumerate(weights):
        pattern, sparsity = plan[weight.name]
        layer, old = layer_of(weight), weight.array()
        if on_progress is not None:
            on_progress(number, len(weights), weight.nodes[0] or weight.name)
        moments = None
        if samples is not None and not layer.why_not:
            moments = moments_of(layer, model, dense_model, samples)
        how = method if moments is not None or method not in CALIBRATED else "magnitude"
        dense = layer.dense()
        choice = choose(how, weight.name, old, dense, pattern, sparsity, moments)
        chance = random_mask(weight.name, old, pattern, sparsity)
        random_error = None
        if moments is not None:
            by_chance = choose("random", weight.name, old, dense, pattern, sparsity, moments)
            random_error = moments.error(by_chance.weights)
        layer.replace(model, choice.weights)
        new = weight.array()
        instead = f"{choice.method} in the place of {method}: {layer.why_not or 'its rows are long'}"
        remarks = [pattern.remark(old.shape), instead if choice.method != method else ""]
        gain = gains.get(weight.name)
        done.append(
            Pruned(
                weight.name,
                weight.nodes,
                tuple(old.shape),
                pattern.text,
                sparsity,
                choice.method,
                1.0 - np.count_nonzero(old) / old.size,
                1.0 - np.count_nonzero(new) / new.size,
                _kept(old, choice.mask),
                _kept(old, chance),
                None if gain is None else gain.natural,
                None if gain is None else gain.rearranged,
                None if moments is None else moments.error(choice.weights),
                random_error,
                ", ".join(filter(None, remarks)),
            )  # fmt: skip
        )
    if samples is not None:
        reestimate_batchnorms(model, dense_model, samples)
    return tuple(done)


def _kept(weight: Array, mask: Array) -> float:
    magnitude = np.abs(weight.astype(np.float64))
    total = float(magnitude.sum())
    return float(magnitude[mask].sum()) / total if total and np.isfinite(total) else 1.0


def _one_of(option: str, given: str, known: Iterable[str]) -> None:
    if given not in known:
        raise InputError(f"unknown {option} '{given}'", hint=f"known: {', '.join(known)}")
