"""Set weights of a model to zero, in a pattern. The result is ONNX that any runtime executes.

What is decided where: patterns say which weights go together (`patterns`), an allocation how many of each layer
(`sparsity.allocation`, `sparsity.latency`), rearranging which channels are neighbours (`passes.rearrange_channels`), a
method which units stay and what the others become (`sparsity.masks`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgesparse.errors import InputError
from edgesparse.passes.pipeline import simplify
from edgesparse.passes.rearrange_channels import RearrangeChannels
from edgesparse.passes.weights import WEIGHTED, Weight, find_weights, source_names
from edgesparse.patterns import Pattern, parse_pattern
from edgesparse.sparsity.allocation import ALLOCATIONS
from edgesparse.sparsity.batchnorm import reestimate_batchnorms
from edgesparse.sparsity.calibration import Samples, check_samples
from edgesparse.sparsity.layer import layer_of, moments_of
from edgesparse.sparsity.magnitude_errors import magnitude_errors
from edgesparse.sparsity.masks import CALIBRATED, METHODS, choose, random_mask, saliency
from edgesparse.sparsity.recipe import Recipe
from edgesparse.sparsity.traces import error_traces
from edgesparse.types import Array, Shape
from edgesparse.verify import check_model

if TYPE_CHECKING:
    from edgesparse.sparsity.latency import LatencyPlan

METADATA_KEY = "edgesparse.sparsity"
LATENCY = "latency"
Progress = Callable[[int, int, str], None]
Plan = dict[str, tuple[Pattern, float]]


@dataclass(frozen=True, slots=True)
class KeptDense:
    """A weight that was left alone, and why."""

    name: str
    nodes: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What happened to one weight. ``shape`` is (Co, Ci, *kernel); shares are in [0, 1].

    ``kept_magnitude``: the share of ``sum |w|`` that the mask keeps, 1 for a weight of zeros; ``random_magnitude`` that
    of a random mask with as many zeros, ``natural_magnitude`` that of the same method's mask before channels were
    rearranged (by magnitude). ``error``: ``E|y - y_dense|^2 / E|y_dense|^2`` of the layer's output on the calibration
    samples, behind pruned predecessors; ``random_error`` with a random mask, its bias re-estimated. None without any.
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
    natural_magnitude: float
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
            move the weights that stay, so that each layer's output stays what it was. Default: "obc" with
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
    before = _names(check_model(model))
    simplify(model)
    samples = None if calibration is None else check_samples(model, calibration)
    fits = [*patterns] if recipe is None else [parse_pattern(x.pattern) for x in recipe.layers.values()]
    chosen, dense = _chosen(model, before, fits, keep, include)
    latency = None
    if recipe is not None:
        plan, more = _by_recipe(chosen, recipe, before, _names(model))
        dense += more
    elif allocation == LATENCY:
        from edgesparse.sparsity.latency import allocate  # brings the compiler

        errors = (
            magnitude_errors(chosen, patterns) if samples is None else error_traces(model, chosen, patterns, samples)
        )
        latency = allocate(
            model, chosen, patterns, errors, device, target_ms=target_ms, speedup=speedup, on_progress=on_progress
        )
        plan, more = _by_recipe(
            chosen, latency.recipe, before, _names(model), "faster dense, or not needed for the target"
        )
        dense += more
    else:
        arrays = {w.name: w.array() for w in chosen}
        shares = ALLOCATIONS[allocation](arrays, dict.fromkeys(arrays, patterns[0]), sparsity)
        plan = {name: (patterns[0], share) for name, share in shares.items()}
    todo = tuple(w for w in chosen if w.name in plan)
    if not todo:
        _nothing_to_prune(model, dense)
    natural, rearranged = {w.name: _kept(w.array(), plan[w.name][0].mask(w.array(), plan[w.name][1])) for w in todo}, 0
    if rearrange:
        rearranged = _rearrange(model, todo, plan, samples)
    layers = _prune(model, todo, plan, method, samples, natural, on_progress)
    _record(model, layers)
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


def _chosen(
    model: ir.Model, before: Mapping[str, set[str]], patterns: Sequence[Pattern], keep: Sequence[str],
    include: Sequence[str],
) -> tuple[list[Weight], list[KeptDense]]:  # fmt: skip
    """The weights to prune, and those that stay dense."""
    weights = find_weights(model)
    aliases = {w.name: _aliases(w, before, _names(model)) for w in weights}
    known = sorted({name for names in aliases.values() for name in names})
    kept = _matching("keep", keep, aliases, known)
    wanted = _matching("include", include, aliases, known)
    chosen, dense = [], []
    for weight in weights:
        reason = "" if weight.optional and weight.name in wanted else weight.dense
        if weight.name in kept:
            reason = "asked for (keep)"
        elif not reason:
            refused = [p.refuses(weight.array().shape, weight.depthwise) for p in patterns]
            reason = refused[0] if refused and all(refused) else ""
        if weight.name in wanted and reason and weight.name not in kept:
            raise InputError(f"cannot prune '{weight.name}', asked for with include: {reason}")
        if reason:
            dense.append(KeptDense(weight.name, weight.nodes, reason))
            continue
        if np.isnan(weight.array()).any():
            raise InputError(
                f"weight '{weight.name}' holds NaN: its magnitudes cannot be ranked",
                where=model.graph.name or "model", hint=f"repair the weight, or leave it dense: --keep {weight.name}",
            )  # fmt: skip
        chosen.append(weight)
    if not chosen:
        _nothing_to_prune(model, dense)
    return chosen, dense


def _nothing_to_prune(model: ir.Model, dense: Sequence[KeptDense]) -> None:
    lines = "".join(f"\n  - {d.name}: {d.reason}" for d in dense) or " it has no constant weights"
    raise InputError(
        f"nothing to prune:{lines}", where=model.graph.name or "model",
        hint="include names layers to prune that stay dense by default",
    )  # fmt: skip


def _by_recipe(
    weights: Sequence[Weight], recipe: Recipe, before: Mapping[str, set[str]], after: Mapping[str, set[str]],
    reason: str = "not in the recipe",
) -> tuple[Plan, list[KeptDense]]:  # fmt: skip
    """Pattern and sparsity of each weight that ``recipe`` names, by node or by weight."""
    aliases = {w.name: _aliases(w, before, after) for w in weights}
    plan: Plan = {}
    for name, layer in recipe.layers.items():
        found = [w for w in weights if name in aliases[w.name]]
        if not found:
            raise InputError(
                f"the recipe names '{name}', which is no layer that can be pruned",
                hint=f"layers: {', '.join(repr(w.nodes[0] or w.name) for w in weights[:5])}; others need include",
            )
        parsed = parse_pattern(layer.pattern)
        refused = parsed.refuses(found[0].array().shape, found[0].depthwise)
        if refused:
            raise InputError(f"the recipe gives '{name}' the pattern {layer.pattern}: {refused}")
        plan[found[0].name] = (parsed, layer.sparsity)
    return plan, [KeptDense(w.name, w.nodes, reason) for w in weights if w.name not in plan]


def _rearrange(model: ir.Model, weights: tuple[Weight, ...], plan: Plan, samples: Samples | None) -> int:
    """How many weights have their channels in another order now."""
    importance = None
    if samples is not None:
        importance = {}
        for weight in weights:
            layer = layer_of(weight)
            if not layer.why_not:
                moments = moments_of(layer, model, model, samples)
                importance[weight.name] = saliency(weight.array(), layer.dense(), moments)
    rearrange = RearrangeChannels(
        weights, {n: p for n, (p, _) in plan.items()}, {n: s for n, (_, s) in plan.items()}, importance
    )
    rearrange(model)
    return sum(
        any(not np.array_equal(one, np.arange(len(one))) for one in both) for both in rearrange.permutations.values()
    )


def _prune(
    model: ir.Model, weights: Sequence[Weight], plan: Plan, method: str, samples: Samples | None,
    natural: Mapping[str, float], on_progress: Progress | None,
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
                natural[weight.name],
                None if moments is None else moments.error(choice.weights),
                random_error,
                pattern.remark(old.shape),
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


def _names(model: ir.Model) -> dict[str, set[str]]:
    """Node name -> names of the initializers it reads."""
    return {n.name: set(source_names(n)) for n in model.graph if n.name and n.op_type in WEIGHTED}


def _aliases(weight: Weight, before: Mapping[str, set[str]], after: Mapping[str, set[str]]) -> set[str]:
    """All names under which a user may know ``weight``: simplification renames initializers."""
    found = {weight.name, *weight.nodes} - {""}
    for node in weight.nodes:
        found |= before.get(node, set()) | after.get(node, set())
    return found


def _matching(option: str, patterns: Sequence[str], aliases: Mapping[str, set[str]], known: Sequence[str]) -> set[str]:
    """The weights that ``patterns`` name. Raises InputError for one that names none."""
    found: set[str] = set()
    for text in (patterns,) if isinstance(patterns, str) else patterns:
        # names may hold [ ] themselves: literally first, only then as a wildcard
        hits = {weight for weight, names in aliases.items() if text in names}
        hits = hits or {weight for weight, names in aliases.items() if any(fnmatchcase(n, text) for n in names)}
        if not hits:
            near = get_close_matches(text, known, n=3, cutoff=0.5) or list(known[:5])
            raise InputError(
                f"{option}: no layer with weights is named '{text}'",
                hint=f"did you mean {', '.join(repr(n) for n in near)}?" if near else "the model has no weights",
            )  # fmt: skip
        found |= hits
    return found


def _record(model: ir.Model, pruned: Iterable[Pruned]) -> None:
    """Add to what an earlier call recorded, so that layers can be pruned one after the other."""
    record = recorded(model)
    for layer in pruned:
        for name in layer.nodes if any(layer.nodes) else (layer.name,):
            record[name] = {
                "pattern": layer.pattern, "sparsity": round(layer.sparsity, 6), "zeros": round(layer.zeros, 6)
            }  # fmt: skip
    model.metadata_props[METADATA_KEY] = json.dumps(record)


def recorded(model: ir.Model) -> dict[str, dict[str, str | float]]:
    """What `sparsify` recorded in the model's metadata: node name -> pattern, sparsity, zeros. Empty if nothing."""
    text = model.metadata_props.get(METADATA_KEY, "{}")
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"metadata '{METADATA_KEY}' is not a JSON object", where=model.graph.name or "model")
    return found
