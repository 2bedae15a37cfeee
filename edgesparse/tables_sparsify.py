"""What `sparsify` prints: a table, or one JSON document with the same facts and more."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.inspect import WeightedLayer
from edgesparse.report import kilobytes, note, print_json, print_table, shape_text, short

if TYPE_CHECKING:
    from edgesparse.sparsify import SparsifyReport

_FACTS = ("pattern", "sparsity", "method", "allocation", "zeros", "samples", "rearranged")


def sparsified(path: Path, report: SparsifyReport, found: Sequence[WeightedLayer], json: bool) -> None:
    pruned, dense = {p.name: p for p in report.layers}, {d.name: d.reason for d in report.dense}
    latency = report.latency
    if json:
        document = {"file": str(path), **{k: getattr(report, k) for k in _FACTS}}
        if latency is not None:
            document["latency"] = {
                k: getattr(latency, k)
                for k in ("device", "target_ms", "ms", "dense_ms", "speedup", "source", "error", "remark")
            }
        layers = [
            {
                **dataclasses.asdict(x),
                **(dataclasses.asdict(pruned[x.weight]) if x.weight in pruned else {"pattern": "dense"}),
                "name": x.name,
                "zeros": x.zeros,
                "why_dense": "" if x.weight in pruned else dense.get(x.weight, "its weight is no initializer"),
            }
            for x in found
        ]
        return print_json({**document, "layers": layers})
    errors = any(p.error is not None for p in report.layers)
    rearranged = any(p.rearranged_share is not None for p in report.layers)
    columns = [
        "layer", "weight", "pattern", "zeros %", "method", "kept sum |w| %", "random mask",
        *(("can keep: natural order %", "rearranged") if rearranged else ()),
        *(("output error", "random mask") if errors else ()), "remark",
    ]  # fmt: skip
    rows = []
    for x in found:
        p = pruned.get(x.weight)
        if p is None:
            why = dense.get(x.weight, "its weight is no initializer").removeprefix(f"{x.op} '{x.name}' ")
            rows.append((short(x.name), shape_text(x.shape), "dense", *[None] * (len(columns) - 4), why))
            continue
        orders = (p.natural_share, p.rearranged_share) if rearranged else ()
        rows.append(
            (
                short(x.name),
                shape_text(x.shape),
                p.pattern,
                percent(p.zeros),
                p.method,
                percent(p.kept_magnitude),
                percent(p.random_magnitude),
                *(None if share is None else percent(share) for share in orders),
                *((p.error, p.random_error) if errors else ()),
                p.remark,
            )  # fmt: skip
        )
    print_table("Layers with weights", columns, rows)
    print(f"{100 * report.zeros:.1f}% zeros in the {len(report.layers)} pruned weights, {len(report.dense)} left dense")
    if report.rearranged:
        print(
            f"channels of {report.rearranged} weights changed places; inputs and outputs of the model are as they were"
        )
    if latency is not None:
        print(
            f"{latency.ms:.3g} ms on {latency.device}, {latency.source}: target {latency.target_ms:.3g} ms, dense "
            f"{latency.dense_ms:.3g} ms, {latency.speedup:.2f} times"
        )
        if latency.remark:
            note(latency.remark)
    print(f"wrote {path} ({kilobytes(path.stat().st_size)})")
    return None


def percent(share: float) -> str:
    return f"{100 * share:.1f}"
