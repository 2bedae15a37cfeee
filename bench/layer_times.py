"""``python -m bench.layer_times``: a dense network and a sparse one, timed layer by layer in turns on this machine."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cases import exported
from bench.command import as_typed
from bench.machine import facts
from bench.results import save
from edgesparse import runtimes
from edgesparse.compile import compile_model
from edgesparse.errors import EdgeSparseError
from edgesparse.importer import load
from edgesparse.layer_time import matched
from edgesparse.profile import profile
from edgesparse.report import print_table, progress
from edgesparse.samples import random_inputs
from edgesparse.sparsify import sparsify
from edgesparse.spread import ratio_interval


def rows(model: str, pattern: str, sparsity: float, num_runs: int) -> list[dict[str, Any]]:
    """One for each layer, and the whole run last; medians in microseconds."""
    dense, sparse = load(exported(model)), load(exported(model))
    sparsify(sparse, pattern, sparsity, rearrange=False)
    with tempfile.TemporaryDirectory() as folder, progress(f"{model} {pattern} {sparsity:g}") as on_progress:
        bundles = [
            compile_model(m, "host", Path(folder) / f"{name}.edge", name=name)
            for name, m in (("dense", dense), ("sparse", sparse))
        ]
        sessions = [runtimes.open(bundle, "local") for bundle in bundles]
        one, other = profile(
            sessions, [random_inputs(s.manifest) for s in sessions], num_runs=num_runs, on_progress=on_progress
        )
        for session in sessions:
            session.close()
    kernels = {x.name: x for x in other.layers}
    found = [
        {"layer": x.name, "op": x.op, "kernel": kernels[x.name].kernel, "dense_us": x.before_us, "us": x.after_us}
        for x in matched(one.layers, other.layers)
        if x.name in kernels
    ]
    _, low, high = ratio_interval(other.run_us, one.run_us)
    whole = {"layer": "whole run", "op": "", "kernel": "", "dense_us": one.whole.median, "us": other.whole.median}
    return [*found, {**whole, "times_95": [low, high]}]


def cells(row: dict[str, Any]) -> list[str]:
    dense, us = row["dense_us"], row["us"]
    interval = f" (95%: {row['times_95'][0]:.2f} to {row['times_95'][1]:.2f})" if "times_95" in row else ""
    times = f"{dense / us:.2f}{interval}" if dense and us else ""
    return [row["layer"], row["op"], row["kernel"], f"{dense:.1f}" if dense else "", f"{us:.1f}", times]


COLUMNS = ("layer", "type", "kernel", "dense us", "sparse us", "times as fast")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.layer_times", description=__doc__)
    parser.add_argument("--models", default="mobilenet_v1", help="default %(default)s")
    parser.add_argument("--pattern", default="block:4x1", help="default %(default)s")
    parser.add_argument("--sparsity", type=float, default=0.3, help="default %(default)s")
    parser.add_argument("--num-runs", type=int, default=60, help="default %(default)s")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--json", type=Path, help="write one JSON line per layer to this file")
    given = parser.parse_args(arguments)
    os.sched_setaffinity(0, {given.cpu})
    common = {
        "what": "layer times", "command": as_typed(parser, arguments, given.json),
        "machine": facts(given.cpu), "pattern": given.pattern, "zeros": given.sparsity,
    }  # fmt: skip
    lines: list[dict[str, Any]] = []
    try:
        for model in given.models.split(","):
            found = rows(model, given.pattern, given.sparsity, given.num_runs)
            print_table(f"{model}, {given.pattern} at {given.sparsity:g}", COLUMNS, [tuple(cells(r)) for r in found])
            lines += [{**common, "model": model, **row} for row in found]
    except EdgeSparseError as error:
        print(f"bench.layer_times: {error}", file=sys.stderr)
        return error.exit_code
    save(given.json, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
