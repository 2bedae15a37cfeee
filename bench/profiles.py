"""``python -m bench.profiles``: whole runs beside the sum of their layers, on every runtime of this machine.

Profiles take a whole run and one that is timed call by call in turns, so that what disturbs one disturbs the other.
What the sum has more is what looking costs, and the first call's caches; clocks of browsers add their steps.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.command import as_typed, note
from bench.machine import facts
from bench.results import save
from edgesparse import runtimes
from edgesparse.compile import compile_model
from edgesparse.errors import EdgeSparseError, InputError, RuntimeFailure
from edgesparse.importer import load
from edgesparse.profile import profile
from edgesparse.report import print_table
from edgesparse.samples import random_inputs

DEVICES = {"local": "host", "node": "browser", "chromium": "browser", "firefox": "browser"}
MODELS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "kws": ("kws/kws_ref_model.onnx", {"input_1": (1, 49, 10, 1)}),
    "ultraface": ("ultraface/version-RFB-320.onnx", {}),
}
COLUMNS = ("model", "runtime", "engine", "whole run, us", "sum of layers, us", "sum / whole", "step of the clock, us")


def rows(model: str, names: Sequence[str], num_runs: int) -> Iterator[dict[str, Any]]:
    """One for each runtime; medians in microseconds. A runtime whose engine is missing is left out, with a word.

    Raises:
        InputError: the model is not there.
    """
    at, shapes = MODELS[model]
    folder = Path(os.environ.get("EDGESPARSE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (folder / at).is_file():
        raise InputError(
            "no such file", where=str(folder / at), hint=f"EDGESPARSE_DATA names the folder with {at} in it"
        )
    with tempfile.TemporaryDirectory() as out:
        bundles = {
            device: compile_model(load(folder / at, shapes=shapes), device, Path(out) / f"{device}.edge", name=model)
            for device in sorted({DEVICES[name] for name in names})
        }
        for name in names:
            note(f"{model} on {name}", passing=True)
            try:
                with runtimes.open(bundles[DEVICES[name]], name) as session:
                    inputs = random_inputs(session.manifest)
                    (found,) = profile([session], [inputs], num_runs=num_runs, warmup_runs=max(5, num_runs // 10))
            except RuntimeFailure as error:
                note(f"{model} on {name}: {error}")
                continue
            whole, layers = found.whole.median, found.layers_us.median
            yield {
                "model": model, "runtime": name, "engine": found.machine.get("engine", found.machine.get("isa", "")),
                "runs": found.whole.count, "whole_us": whole, "layers_us": layers, "ratio": layers / whole,
                "clock_step_us": found.facts["clock_step_ns"] / 1e3 if "clock_step_ns" in found.facts else None,
            }  # fmt: skip


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    step = "" if row["clock_step_us"] is None else f"{row['clock_step_us']:g}"
    times = f"{row['whole_us']:.1f}", f"{row['layers_us']:.1f}", f"{row['ratio']:.3f}"
    return (row["model"], row["runtime"], row["engine"], *times, step)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profiles", description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS), help="default %(default)s")
    parser.add_argument("--runtimes", default=",".join(DEVICES), help="default %(default)s")
    parser.add_argument("--num-runs", type=int, default=200, help="default %(default)s")
    parser.add_argument("--json", type=Path, help="write one JSON line per model and runtime to this file")
    given = parser.parse_args(arguments)
    common = {
        "what": "profiles", "command": as_typed(parser, arguments, given.json),
        "machine": facts(*sorted(os.sched_getaffinity(0))),
    }  # fmt: skip
    try:
        models, names = _known(given.models, MODELS, "--models"), _known(given.runtimes, DEVICES, "--runtimes")
        found = [row for model in models for row in rows(model, names, given.num_runs)]
    except EdgeSparseError as error:
        print(f"bench.profiles: {error}", file=sys.stderr)
        return error.exit_code
    print_table(f"medians of {given.num_runs} runs", COLUMNS, [cells(row) for row in found])
    save(given.json, [{**common, **row} for row in found])
    return 0


def _known(text: str, known: dict[str, Any], option: str) -> list[str]:
    """Names separated by commas. Raises InputError where one is unknown."""
    for name in text.split(","):
        if name not in known:
            raise InputError(f"there is no '{name}'", where=option, hint=f"one or more of {','.join(known)}")
    return text.split(",")


if __name__ == "__main__":
    sys.exit(main())
