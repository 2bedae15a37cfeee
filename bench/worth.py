"""``python -m bench.worth``: from which share of active inputs on skipping is faster, on a small model (`pylm`).

The model with thresholds of TEAL, the same share for all layers, over the same model without, all open at once and in
turns. Rules are kept whatever they leave; `edgesparse.decoder.worth` has the limits that follow. Large models:
`bench.llm`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.activation_sparsity import data
from bench.command import as_typed
from bench.machine import facts
from bench.results import save
from edgesparse import runtimes
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.magnitude import calibrate_teal
from edgesparse.decoder.store import form_of
from edgesparse.errors import EdgeSparseError
from edgesparse.report import print_table
from edgesparse.runtimes.generation import Request

DEVICES = {"local": "host", "node": "browser"}
WINDOWS, TOKENS = 8, 200
COLUMNS = ("runtime", "weights", "active inputs", "tokens/s", "x dense")


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["runtime"], row["weights"], f"{row['active']:.0%}", f"{row['tokens_s']:.0f}", f"{row['x_dense']:.2f}"


def rows(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    decoder, calibrating, _ = data()
    shares = [1.0, *map(float, given.active.split(","))]
    ruled = {s: calibrate_teal(decoder, calibrating[:WINDOWS], 1 - s, allocation="uniform") for s in shares}
    for runtime in given.runtimes.split(","):
        for weights in given.weights.split(","):
            with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
                opened = {}
                for share, model in ruled.items():
                    bundle = Path(folder) / f"{share}.edge"
                    compile_decoder(model, DEVICES[runtime], bundle, weights=form_of(weights), break_even=1.0)
                    opened[share] = stack.enter_context(runtimes.open(bundle, runtime, threads=1))
                    opened[share].generate([5], Request(TOKENS))
                speeds: dict[float, list[float]] = {share: [] for share in shares}
                for _ in range(given.rounds):
                    for share, session in opened.items():
                        speeds[share].append(session.generate([5], Request(TOKENS)).cost.tokens_per_s)
            for share, found in speeds.items():
                over = statistics.median(a / b for a, b in zip(found, speeds[1.0], strict=True))
                yield {
                    "runtime": runtime, "weights": weights, "active": share, "tokens_s": statistics.median(found),
                    "x_dense": over,
                }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.worth", description=__doc__.partition("\n")[0])
    parser.add_argument("--runtimes", default="local,node", help="(%(default)s)")
    parser.add_argument("--weights", default="int8,int4,f32", help="(%(default)s)")
    parser.add_argument("--active", default="0.7,0.5,0.3", help="shares of inputs that are not skipped (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write one JSON line per result to this file")
    given = parser.parse_args(arguments)
    machine = facts(*sorted(os.sched_getaffinity(0)))
    common = {"what": "worth of rules", "command": as_typed(parser, arguments, given.json), "machine": machine}
    try:
        found = list(rows(given))
    except EdgeSparseError as error:
        print(f"bench.worth: {error}", file=sys.stderr)
        return error.exit_code
    print_table("", COLUMNS, [cells(row) for row in found])
    save(given.json, [{**common, **row} for row in found])
    return 0


if __name__ == "__main__":
    sys.exit(main())
