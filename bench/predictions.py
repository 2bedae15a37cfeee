"""``python -m bench.predictions``: how far `predict` is from what networks take on this machine, whole and by layer.

With published figures; after `edgesparse calibrate`; and after `profile` of each network in turn, but the one that is
predicted. What the user's own database knows is left aside.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from typing import Any

from bench.cases import DENSE, Case, exported
from bench.command import as_typed
from bench.machine import facts
from bench.results import save
from edgesparse import runtimes
from edgesparse.calibrate import calibrate
from edgesparse.compile import compile_model
from edgesparse.corrections import remember
from edgesparse.errors import EdgeSparseError
from edgesparse.importer import load
from edgesparse.manifest import read_manifest
from edgesparse.predict import predict
from edgesparse.profile import Profile, profile
from edgesparse.report import print_table, progress
from edgesparse.samples import random_inputs
from edgesparse.sparsify import sparsify

MODELS = "mobilenet_v1,mobilenet_v2,resnet50,squeezenet"
CASES = ((DENSE, 0.0), ("block:4x1", 0.7), ("unstructured", 0.8))
PUBLISHED, CALIBRATED, PROFILED = "published", "calibrated", "profiled others"
COLUMNS = ("model", "pattern", "by", "predicted ms", "measured ms", "over measured", "layers off by")


def loaded(case: Case) -> Any:
    model = load(exported(case.model))
    if case.pattern != DENSE:
        sparsify(model, case.pattern, case.sparsity, rearrange=False)
    return model


def measured(case: Case, folder: Path, num_runs: int) -> Profile:
    """In a bundle for what is known now."""
    bundle = compile_model(loaded(case), "host", folder / "m.edge", force=True)
    with runtimes.open(bundle, "local") as session:
        (found,) = profile([session], [random_inputs(session.manifest)], num_runs=num_runs)
    return found


def row(case: Case, by: str, folder: Path, num_runs: int) -> dict[str, Any]:
    """``off``: how many times as long as predicted, or as short, the middle layer is; those that take turns with others
    have no time of their own, and are left out."""
    expected, found = predict(loaded(case), "host"), measured(case, folder, num_runs)
    timed = {x.name: x.us.median for x in found.layers}
    alone = {x.name for x in read_manifest(folder / "m.edge").layers if len(x.calls) == 1}
    ratios = [abs(log(timed[x.name] / x.us)) for x in expected.layers if x.name in alone and timed.get(x.name)]
    return {
        "model": case.model, "pattern": case.pattern, "zeros": case.sparsity, "by": by,
        "predicted_us": expected.us, "us": found.whole.median, "off": exp(statistics.median(ratios)),
    }  # fmt: skip


def cells(found: dict[str, Any]) -> tuple[object, ...]:
    pattern = found["pattern"] + (f" {found['zeros']:g}" if found["zeros"] else "")
    return (
        found["model"], pattern, found["by"], round(found["predicted_us"] / 1e3, 2), round(found["us"] / 1e3, 2),
        round(found["predicted_us"] / found["us"], 2), round(found["off"], 2),
    )  # fmt: skip


def rows(cases: Sequence[Case], num_runs: int) -> list[dict[str, Any]]:
    found = []
    with tempfile.TemporaryDirectory() as folder, progress("predictions") as on_progress:
        total = 4 * len(cases)
        for number, case in enumerate(cases):
            on_progress(number, total, str(case))
            os.environ["EDGESPARSE_TUNED"] = f"{folder}/nothing"
            found.append(row(case, PUBLISHED, Path(folder), num_runs))
        os.environ["EDGESPARSE_TUNED"] = f"{folder}/calibrated"
        calibrate("host", "local", on_progress=on_progress)
        for number, case in enumerate(cases):
            on_progress(len(cases) + number, total, str(case))
            found.append(row(case, CALIBRATED, Path(folder), num_runs))
        for number, case in enumerate(cases):
            on_progress(2 * len(cases) + number, total, str(case))
            os.environ["EDGESPARSE_TUNED"] = f"{folder}/but{number}"
            for other in cases:
                if other.model != case.model:
                    profiled = measured(other, Path(folder), num_runs)
                    remember(profiled, read_manifest(Path(folder, "m.edge")))
            found.append(row(case, PROFILED, Path(folder), num_runs))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.predictions", description=__doc__)
    parser.add_argument("--models", default=MODELS, help="default %(default)s")
    parser.add_argument("--num-runs", type=int, default=30, help="default %(default)s")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--json", type=Path, help="write one JSON line per row to this file")
    given = parser.parse_args(arguments)
    os.sched_setaffinity(0, {given.cpu})
    cases = [Case(model, pattern, zeros) for model in given.models.split(",") for pattern, zeros in CASES]
    try:
        found = sorted(rows(cases, given.num_runs), key=lambda r: (r["model"], r["zeros"]))
    except EdgeSparseError as error:
        print(f"bench.predictions: {error}", file=sys.stderr)
        return error.exit_code
    print_table("", COLUMNS, [cells(r) for r in found])
    common = {
        "what": "predictions", "command": as_typed(parser, arguments, given.json), "machine": facts(given.cpu),
    }  # fmt: skip
    save(given.json, [{**common, **r} for r in found])
    return 0


if __name__ == "__main__":
    sys.exit(main())
