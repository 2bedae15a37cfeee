"""``python -m bench.profile_cost``: what timing layers costs the whole runs beside them.

On this machine whole runs are timed alone and beside runs whose layers are timed, in turns. On arm64 the executed
instructions of the bundle's program are counted under qemu: those that ``--per-layer`` adds to a run, with reading
clocks and printing every time, over those of a run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.arm.counting import per_inference, run
from bench.cases import exported
from bench.command import as_typed
from bench.machine import facts
from bench.results import save
from edgesparse import runtimes
from edgesparse.compile import compile_model
from edgesparse.errors import EdgeSparseError
from edgesparse.importer import load
from edgesparse.report import print_table, progress
from edgesparse.runtimes.arrays import check_inputs
from edgesparse.samples import random_inputs
from edgesparse.spread import ratio_interval

COLUMNS = ("model", "where", "alone", "with layers", "unit", "cost")


def here(model: str, turns: int, runs: int) -> dict[str, Any]:
    """Medians of whole runs in microseconds, alone and beside runs that are timed layer by layer."""
    with tempfile.TemporaryDirectory() as folder, progress(model) as on_progress:
        bundle = compile_model(load(exported(model)), "host", Path(folder) / "m.edge")
        with runtimes.open(bundle, "local") as session:
            inputs = random_inputs(session.manifest)
            alone: list[float] = []
            beside: list[float] = []
            for turn in range(turns):
                alone += session.bench(inputs, num_runs=runs, warmup_runs=3).wall_ns
                beside += session.time_calls(inputs, num_runs=runs, warmup_runs=3).wall_ns
                on_progress(turn + 1, turns)
    ratio, low, high = ratio_interval(alone, beside)
    us = [sorted(x)[len(x) // 2] / 1e3 for x in (alone, beside)]
    return {
        "where": "local", "alone": us[0], "with_layers": us[1], "unit": "us", "cost": ratio - 1,
        "cost_95": [low - 1, high - 1], "runs": len(alone),
    }  # fmt: skip


def emulated(model: str) -> dict[str, Any]:
    """Executed instructions of a run, and of one that is timed layer by layer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = Path(compile_model(load(exported(model)), "rpi5", folder / "m.edge"))
        with runtimes.open(bundle, "qemu") as session:
            (sample,) = check_inputs(session.manifest, random_inputs(session.manifest), each=False)
        command: list[str | Path] = [bundle / "model", "--weights", bundle / "weights.bin", "--json"]
        for i, array in enumerate(sample):
            array.tofile(folder / f"{i}.bin")
            command += ["--input", folder / f"{i}.bin"]

        def instructions(*more: str) -> float:
            return per_inference(lambda n: run([*command, "--num-runs", str(n), *more]))[0]

        alone = instructions()
        # of each inference two runs: a whole one, and one of which every layer is timed
        both = instructions("--per-layer")
    return {
        "where": "arm64, executed", "alone": alone, "with_layers": both - alone, "unit": "instructions",
        "cost": (both - alone) / alone - 1,
    }  # fmt: skip


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    interval = ""
    if "cost_95" in row:
        interval = " (95%: {:.2%} to {:.2%})".format(*row["cost_95"])
    return (
        row["model"], row["where"], f"{row['alone']:.5g}", f"{row['with_layers']:.5g}", row["unit"],
        f"{row['cost']:.2%}{interval}",
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profile_cost", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--models", default="ds_cnn,mobilenet_v1", help="default %(default)s")
    parser.add_argument("--turns", type=int, default=20, help="default %(default)s")
    parser.add_argument("--runs", type=int, default=20, help="of each turn; default %(default)s")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--json", type=Path, help="write one JSON line per row to this file")
    given = parser.parse_args(arguments)
    os.sched_setaffinity(0, {given.cpu})
    common = {"what": "cost of profiling", "command": as_typed(parser, arguments, given.json),
              "machine": facts(given.cpu)}  # fmt: skip
    found: list[dict[str, Any]] = []
    try:
        for model in given.models.split(","):
            both = here(model, given.turns, given.runs), emulated(model)
            found += [{"model": model, **row} for row in both]
    except EdgeSparseError as error:
        print(f"bench.profile_cost: {error}", file=sys.stderr)
        return error.exit_code
    print_table("What timing layers costs whole runs", COLUMNS, [cells(row) for row in found])
    save(given.json, [{**common, **row} for row in found])
    return 0


if __name__ == "__main__":
    sys.exit(main())
