"""Set the smallest weights of a model to zero, in a pattern. The result is ONNX that any runtime executes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from math import prod

import onnx_ir as ir

from edgesparse.errors import InputError
from edgesparse.passes.pipeline import simplify
from edgesparse.passes.prune import ALLOCATIONS, Prune, Pruned
from edgesparse.passes.weights import WEIGHTED, Weight, find_weights, source_names
from edgesparse.patterns import Pattern, parse_pattern
from edgesparse.verify import check_model

METADATA_KEY = "edgesparse.sparsity"
METHODS = ("magnitude",)


@dataclass(frozen=True, slots=True)
class KeptDense:
    """A weight that was left alone, and why."""

    name: str
    nodes: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class SparsifyReport:
    """``sparsity`` is what was asked of each pruned weight (or of all together), see ``allocation``."""

    pattern: str
    sparsity: float
    method: str
    allocation: str
    layers: tuple[Pruned, ...]
    dense: tuple[KeptDense, ...]

    @property
    def zeros(self) -> float:
        """The share of zeros in all pruned weights together."""
        sizes = [prod(layer.shape) for layer in self.layers]
        return sum(layer.zeros * size for layer, size in zip(self.layers, sizes, strict=True)) / sum(sizes)


def sparsify(
    model: ir.Model, pattern: str | Pattern, sparsity: float, method: str = "magnitude",
    allocation: str = "uniform", keep: Sequence[str] = (), include: Sequence[str] = (),
) -> SparsifyReport:  # fmt: skip
    """Simplify ``model``, then zero the units of ``pattern`` with the smallest magnitude, in place.

    Prunes convolutions (not depthwise or grouped ones), Gemm and MatMul with constant weights. The first
    convolution and the classifier stay dense. ``keep`` leaves more layers dense and ``include`` prunes those
    two: names of nodes or initializers, before or after simplification, with ``*`` and ``?`` as wildcards.
    What was done to each layer is recorded in ``model.metadata_props["edgesparse.sparsity"]`` as JSON.

    Args:
        sparsity: the share of units to zero, in [0, 1).
        allocation: "uniform" (also "per-layer"): of every weight; "global": of all weights ranked together.

    Raises:
        InputError: an option or name that cannot be used, NaN weights, or nothing to prune.
    """
    parsed = parse_pattern(pattern) if isinstance(pattern, str) else pattern
    if not 0 <= sparsity < 1:
        raise InputError(f"sparsity {sparsity:g} is outside of [0, 1)", hint="0.7 sets 70% of the weights to zero")
    _one_of("method", method, METHODS)
    _one_of("allocation", allocation, tuple(ALLOCATIONS))
    before = _names(check_model(model))
    simplify(model)
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
        elif weight.name in wanted and reason:
            raise InputError(f"cannot prune '{weight.name}', asked for with include: {reason}")
        if reason:
            dense.append(KeptDense(weight.name, weight.nodes, reason))
        else:
            chosen.append(weight)
    if not chosen:
        lines = "".join(f"\n  - {d.name}: {d.reason}" for d in dense) or " it has no constant weights"
        raise InputError(
            f"nothing to prune:{lines}", where=model.graph.name or "model",
            hint="include names layers to prune that stay dense by default",
        )  # fmt: skip
    prune = Prune(tuple(chosen), parsed, sparsity, allocation)
    prune(model)
    _record(model, parsed, sparsity, prune.pruned)
    return SparsifyReport(parsed.text, sparsity, method, allocation, prune.pruned, tuple(dense))


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


def _record(model: ir.Model, pattern: Pattern, sparsity: float, pruned: Iterable[Pruned]) -> None:
    """Add to what an earlier call recorded, so that layers can be pruned one after the other."""
    record = recorded(model)
    for layer in pruned:
        for name in layer.nodes if any(layer.nodes) else (layer.name,):
            record[name] = {"pattern": pattern.text, "sparsity": sparsity, "zeros": round(layer.zeros, 6)}
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
