"""What `edgesparse whatif` prints: a table, or with ``json`` one document with the same facts and more."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgesparse.report import note, print_json, print_table, shape_text, short
from edgesparse.sparsity.latency import LatencyPlan
from edgesparse.sparsity.recipe import Recipe
from edgesparse.sparsity.whatif import FASTER, WhatIf, WhatIfLayer

SHOWN = (0.5, 0.7, 0.9)


def whatif(
    path: Path, found: WhatIf, recipe: Recipe | None, plan: LatencyPlan | None, written: Sequence[Path], json: bool
) -> None:
    if json:
        layers = [
            {
                **dataclasses.asdict(layer),
                "break_even": {p: layer.break_even(p) for p in layer.curves},
                "best": {str(s): _best(layer, s) for s in SHOWN},
            }
            for layer in found.layers
        ]
        return print_json(
            {
                "model": str(path), "device": found.device, "source": found.source, "unit": "us",
                "fixed_us": found.fixed_us, "layers": layers, "dense": found.dense,
                "recipe": None if recipe is None else recipe.model_dump(mode="json"),
                "plan": None if plan is None else {**dataclasses.asdict(plan), "recipe": None, "source": plan.source},
                "written": [str(p) for p in written],
            }
        )  # fmt: skip
    patterns = list(dict.fromkeys(p for layer in found.layers for p in layer.curves))
    rows = [
        (
            short(layer.layer), shape_text(layer.shape), layer.dense_us, *(_from(layer, p) for p in patterns),
            *(_text(layer, s) for s in SHOWN),
        )
        for layer in found.layers
    ]  # fmt: skip
    columns = ("layer", "weight", "dense us", *(f"{p} from" for p in patterns), *(f"best at {s:g}" for s in SHOWN))
    title = f"{path} on {found.device}: microseconds on one core, {found.source}; sparsity from which on a pattern pays"
    print_table(title, columns, rows)
    dense_us = sum(layer.dense_us for layer in found.layers)
    totals = []
    for pattern in patterns:
        curve = found.total(pattern)
        totals.append((pattern, *(_total(curve.get(s), dense_us) for s in SHOWN)))
    title = f"All {len(found.layers)} layers together, {dense_us:.4g} us dense"
    print_table(title, ("pattern", *(f"at {s:g}" for s in SHOWN)), totals)
    print(f"the other layers take about {found.fixed_us:.4g} us (estimated), which no zeros shorten")
    refusals = {(p, why): layer.layer for layer in found.layers for p, why in layer.refused.items()}
    for (pattern, why), layer in refusals.items():
        note(f"{pattern} not in '{short(layer)}': {why}")
    for why, names in _by_reason(found.dense).items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        note(f"'{short(names[0])}'{others}: dense, for it is {why}")
    if plan is not None:
        print(
            f"recipe: {len(plan.recipe.layers)} layers, {plan.ms:.4g} ms {plan.source}, {plan.speedup:.2f} times as "
            f"fast as dense ({plan.dense_ms:.4g} ms)"
        )
        if plan.remark:
            note(plan.remark)
    for file in written:
        print(f"wrote {file}")
    return None


def _by_reason(dense: Mapping[str, str]) -> dict[str, list[str]]:
    """Reasons without the name of the layer that they begin with -> layers."""
    found: dict[str, list[str]] = {}
    for name, why in dense.items():
        found.setdefault(why.partition(f"'{name}' is ")[2] or why, []).append(name)
    return found


def _from(layer: WhatIfLayer, pattern: str) -> str:
    if pattern not in layer.curves:
        return "refused"
    share = layer.break_even(pattern)
    return f"never up to {max(layer.curves[pattern]):g}" if share is None else f"{share:.2f}"


def _text(layer: WhatIfLayer, sparsity: float) -> str:
    best = layer.best(sparsity)
    if best is None:
        return "not looked at"
    if best[1] >= FASTER * layer.dense_us:
        return "dense"
    return f"{best[0]} {best[1]:.3g} us, {layer.dense_us / best[1]:.2f}x"


def _total(us: float | None, dense_us: float) -> str:
    return "" if us is None else f"{us:.4g} us, {dense_us / us:.2f}x"


def _best(layer: WhatIfLayer, sparsity: float) -> dict[str, object] | None:
    best = layer.best(sparsity)
    return None if best is None else {"pattern": best[0], "us": best[1], "speedup": layer.dense_us / best[1]}
