"""Which weights are pruned and which stay dense, by the names that a user knows them under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

import numpy as np
import onnx_ir as ir

from edgesparse.errors import InputError
from edgesparse.passes.weights import WEIGHTED, Weight, find_weights, source_names
from edgesparse.patterns import Pattern, parse_pattern
from edgesparse.sparsity.recipe import Recipe

Plan = dict[str, tuple[Pattern, float]]
"""Weight name -> its pattern and sparsity."""


@dataclass(frozen=True, slots=True)
class KeptDense:
    """A weight that was left alone, and why."""

    name: str
    nodes: tuple[str, ...]
    reason: str


def chosen_weights(
    model: ir.Model, before: Mapping[str, set[str]], patterns: Sequence[Pattern], keep: Sequence[str],
    include: Sequence[str],
) -> tuple[list[Weight], list[KeptDense]]:  # fmt: skip
    """The weights to prune, and those that stay dense."""
    weights = find_weights(model)
    aliases = {w.name: _aliases(w, before, weight_names(model)) for w in weights}
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
        nothing_to_prune(model, dense)
    return chosen, dense


def nothing_to_prune(model: ir.Model, dense: Sequence[KeptDense]) -> None:
    lines = "".join(f"\n  - {d.name}: {d.reason}" for d in dense) or " it has no constant weights"
    raise InputError(
        f"nothing to prune:{lines}", where=model.graph.name or "model",
        hint="include names layers to prune that stay dense by default",
    )  # fmt: skip


def planned(
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


def weight_names(model: ir.Model) -> dict[str, set[str]]:
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
