"""``python -m bench.allocation``: does allocation by latency meet its target, and lose less than uniform sparsity?

For each network and target, `allocate` plans on this machine. Then its plan is timed again, and so is uniform sparsity:
that share of zeros, in each pattern, is searched that takes the same time. What both lose is the squared magnitude of
their zeros relative to all of a layer's, summed over the layers: what the plan minimised. All times are medians of runs
in turns with the dense network, on one core.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.cases import exported
from bench.command import as_typed
from bench.machine import facts
from bench.results import write_rows
from edgesparse.errors import EdgeSparseError, InputError
from edgesparse.importer import load
from edgesparse.passes.weights import Weight
from edgesparse.patterns import Mask, Pattern, parse_pattern
from edgesparse.report import print_table, progress
from edgesparse.sparsity.latency import LatencyPlan, allocate, with_zeros
from edgesparse.sparsity.magnitude_errors import lost_energy, magnitude_errors
from edgesparse.sparsity.stopwatch import Stopwatch, stopwatch
from edgesparse.sparsity.whatif import PATTERNS, prunable

if TYPE_CHECKING:
    import onnx_ir as ir

KWS = "kws"
SPEEDUPS = {KWS: "1.2,1.35,1.5"}  # most of its time is in layers that are not pruned
USUAL = "1.5,2,3"
MOST = 0.98  # uniform sparsity up to this is tried
CLOSE, ROUNDS = 0.01, 8  # uniform sparsity is searched until its time is so close, or so many were tried

Say = Callable[[int, int, str], None]


def network(name: str) -> ir.Model:
    """A network of examples/models.py with random weights, or the trained ``kws`` of $EDGESPARSE_DATA."""
    if name != KWS:
        return load(exported(name))
    folder = Path(os.environ.get("EDGESPARSE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    path = folder / "kws" / "kws_ref_model.onnx"
    if not path.is_file():
        raise InputError("no such file", where=str(path), hint="set EDGESPARSE_DATA to the folder of real models")
    return load(path, shapes={"input_1": (1, 49, 10, 1)})


def measure(name: str, speedups: Sequence[float], patterns: Sequence[Pattern], say: Say) -> Iterator[dict[str, Any]]:
    """One row a target."""
    model, weights, _ = prunable(network(name))
    errors = magnitude_errors(weights, patterns)
    for speedup in speedups:
        plan = allocate(model, weights, patterns, errors, "host", speedup=speedup, on_progress=say)
        with stopwatch(model, "host") as watch:
            # the target in terms of the plan's own dense time: the machine may run faster or slower by now
            scale = plan.dense_ms / watch.dense_ms
            masks = _masks(weights, patterns, plan)
            again_ms = watch.measure(with_zeros(model, masks)) * scale
            found = [_uniform(watch, model, weights, pattern, again_ms / scale, say) for pattern in patterns]
        for one in found:
            one["ms"] = one["ms"] * scale
        reached = [one for one in found if one["reached"]]
        yield {
            "model": name, "speedup": speedup, "dense_ms": plan.dense_ms, "target_ms": plan.target_ms,
            "planned_ms": plan.measured_ms, "ms": again_ms, "off": again_ms / plan.target_ms - 1,
            "predicted_ms": plan.predicted_ms, "error": _lost(weights, masks), "uniform": found,
            "best_uniform": min(reached, key=lambda one: one["error"], default=None),
            "layers": {x.layer: [x.pattern, x.sparsity] for x in plan.layers},
        }  # fmt: skip


def _masks(weights: Sequence[Weight], patterns: Sequence[Pattern], plan: LatencyPlan) -> dict[str, Mask]:
    by_text, by_name = {p.text: p for p in patterns}, {w.name: w.array() for w in weights}
    sparse = [x for x in plan.layers if x.sparsity]
    return {x.weight: by_text[x.pattern].mask(np.abs(by_name[x.weight]), x.sparsity) for x in sparse}


def _lost(weights: Sequence[Weight], masks: Mapping[str, Mask]) -> float:
    """The sum over layers."""
    return sum(lost_energy(w.array(), masks[w.name]) for w in weights if w.name in masks)


def _uniform(
    watch: Stopwatch, model: ir.Model, weights: Sequence[Weight], pattern: Pattern, wanted_ms: float, say: Say
) -> dict[str, Any]:
    """The uniform sparsity in ``pattern`` that takes ``wanted_ms``, its time and its error."""

    def time(sparsity: float) -> tuple[float, float]:
        say(len(tried) - 1, ROUNDS, f"uniform {pattern.text} at {sparsity:.3f}")
        masks = {w.name: pattern.mask(np.abs(w.array()), sparsity) for w in weights}
        return sparsity, watch.measure(with_zeros(model, masks))

    tried = [(0.0, watch.dense_ms)]
    tried.append(time(MOST))
    while len(tried) < ROUNDS and min(abs(ms / wanted_ms - 1) for _, ms in tried) > CLOSE:
        slow = [point for point in tried if point[1] > wanted_ms]
        fast = [point for point in tried if point[1] <= wanted_ms]
        if not (slow and fast):
            break
        one, other = max(slow), min(fast)  # neighbours in sparsity, but for noise
        share = (one[1] - wanted_ms) / (one[1] - other[1])
        tried.append(time(one[0] + (other[0] - one[0]) * min(max(share, 0.1), 0.9)))
    sparsity, ms = min(tried, key=lambda point: abs(point[1] / wanted_ms - 1))
    error = _lost(weights, {w.name: pattern.mask(np.abs(w.array()), sparsity) for w in weights})
    return {
        "pattern": pattern.text, "sparsity": sparsity, "ms": ms, "error": error,
        "reached": abs(ms / wanted_ms - 1) <= 5 * CLOSE, "tried": sorted(tried),
    }  # fmt: skip


COLUMNS = (
    "model", "dense ms", "speedup", "target ms", "measured ms", "off", "lost, planned", "uniform of the same time",
    "measured ms", "lost, uniform",
)  # fmt: skip


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row of the table, in the order of COLUMNS."""
    best = row["best_uniform"]
    uniform = (
        ["none", "", ""] if best is None
        else [f"{best['pattern']} at {best['sparsity']:.2f}", f"{best['ms']:.4g}", f"{best['error']:.3f}"]
    )  # fmt: skip
    return [
        row["model"], f"{row['dense_ms']:.4g}", f"{row['speedup']:g}", f"{row['target_ms']:.4g}", f"{row['ms']:.4g}",
        f"{row['off']:+.1%}", f"{row['error']:.3f}", *uniform,
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.allocation", description=__doc__)
    parser.add_argument("--models", default="mobilenet_v1,kws", help="default %(default)s")
    parser.add_argument("--speedups", help=f"default {USUAL}; for kws {SPEEDUPS[KWS]}")
    parser.add_argument("--patterns", default=",".join(PATTERNS), help="default %(default)s")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--json", type=Path, help="write one JSON line per result to this file")
    given = parser.parse_args(arguments)
    os.sched_setaffinity(0, {given.cpu})
    common = {"what": "allocation", "command": as_typed(parser, arguments, given.json)}
    rows: list[dict[str, Any]] = []
    try:
        patterns = [parse_pattern(text) for text in given.patterns.split(",")]
        for name in given.models.split(","):
            speedups = [float(s) for s in (given.speedups or SPEEDUPS.get(name, USUAL)).split(",")]
            machine = facts(given.cpu)
            with progress(f"bench.allocation {name}") as say:
                for row in measure(name, speedups, patterns, say):
                    rows.append({**common, **row, "machine": machine})
                    if given.json:  # an interrupted run leaves what it has
                        write_rows(given.json, rows)
    except EdgeSparseError as error:
        print(f"bench.allocation: {error}", file=sys.stderr)
        return error.exit_code
    print_table("", COLUMNS, [cells(row) for row in rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
