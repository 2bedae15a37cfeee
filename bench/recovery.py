"""``python -m bench.recovery``: what training without labels brings back of a pruned network's accuracy.

The keyword spotter and the digit classifier of `bench.accuracy`, in the same splits: the samples that calibrated the
masks train, the others judge. About two and a half CPU minutes a split with one thread (OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

import edgesparse as es
from bench.accuracy import TASKS, Split, accuracy
from bench.command import as_typed
from bench.machine import facts
from bench.results import save
from edgesparse.errors import EdgeSparseError
from edgesparse.report import progress
from edgesparse.sparsity.recover import EPOCHS

CASES = "unstructured 0.5,block:4x1 0.5,block:4x1 0.7"


def recover_split(
    dense: ir.Model, split: Split, pattern: str, sparsity: float, method: str = "obc", epochs: int = EPOCHS,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Percent right of the dense model, the pruned and the recovered one; ``minutes`` of CPU time to recover."""
    model = dense.clone()
    es.sparsify(model, pattern, sparsity, method, calibration=split.calibration)
    pruned = accuracy(model, split)
    report = es.recover(model, dense, split.calibration, epochs=epochs, on_progress=on_progress)
    return {
        "dense": accuracy(dense, split), "pruned": pruned, "recovered": accuracy(model, split),
        "minutes": report.cpu_minutes, "epochs": report.epochs, "best_epoch": report.best_epoch,
        "loss_before": report.loss_before, "loss_after": report.loss_after, "hidden": report.hidden,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--models", default="kws", help="of kws, digits; default %(default)s")
    parser.add_argument("--cases", default=CASES, help="pattern and sparsity; default %(default)s")
    parser.add_argument("--method", default="obc", help="default %(default)s")
    parser.add_argument("--splits", type=int, default=5, help="default %(default)s")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="default %(default)s")
    parser.add_argument("--json", type=Path, help="write one JSON line per case to this file")
    given = parser.parse_args(arguments)
    command = as_typed(parser, arguments, given.json)
    common = {"what": "recovery", "command": command.strip(), "machine": facts()}
    lines: list[dict[str, Any]] = []
    try:
        for name in given.models.split(","):
            task = TASKS[name](given.splits)
            dense = es.load(task.model)
            for case in given.cases.split(","):
                pattern, _, sparsity = case.strip().partition(" ")
                found = []
                for number, split in enumerate(task.splits):
                    with progress(f"{name} {case} split {number}") as on_progress:
                        found.append(
                            recover_split(
                                dense, split, pattern, float(sparsity), given.method, given.epochs, on_progress
                            )
                        )
                columns = {key: [row[key] for row in found] for key in found[0]}
                lines.append({**common, "model": name, "pattern": pattern, "sparsity": float(sparsity), **columns})
                shown = ", ".join(
                    f"{key} {np.mean(columns[key]):.1f} ± {np.std(columns[key]):.1f}"
                    for key in ("dense", "pruned", "recovered", "minutes")
                )
                print(f"{name} {case}: {shown}", flush=True)
    except EdgeSparseError as error:
        print(f"bench.recovery: {error}", file=sys.stderr)
        return error.exit_code
    save(given.json, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
