"""``python -m bench.accuracy``: how accurate pruned networks are, by pattern, method and sparsity, on real samples.

The keyword spotter (``$EDGESPARSE_DATA``): some samples calibrate, the others judge, in several splits. The digit
classifier of examples/: its training images calibrate, without their labels. The first convolution and the classifier
stay dense, as they do by default.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

import edgesparse as es
from bench.command import as_typed
from bench.machine import facts
from bench.results import save
from edgesparse.errors import EdgeSparseError, InputError
from edgesparse.patterns import parse_pattern
from edgesparse.report import progress
from edgesparse.types import Array

PROJECT = Path(__file__).resolve().parent.parent
CALIBRATING, SPLITS = 300, 5
PATTERNS = "unstructured,block:2x1,block:4x1,block:8x1,nm:2:4,nm:2:4x4"
METHODS = "random,magnitude,wanda,sparsegpt,obc"
SPARSITIES = "0.3,0.4,0.5,0.6,0.7,0.8,0.9"


@dataclass(frozen=True, slots=True)
class Split:
    """Samples to calibrate with, and samples with labels to judge by."""

    calibration: dict[str, Array]
    inputs: dict[str, Array]
    labels: Array


@dataclass(frozen=True, slots=True)
class Task:
    model: Path
    splits: tuple[Split, ...]


def keywords(splits: int = SPLITS) -> Task:
    """The keyword spotter: 300 of 700 samples calibrate, the other 400 judge; seeds 0, 1, ..."""
    folder = Path(os.environ.get("EDGESPARSE_DATA", PROJECT.parent / "shared" / "data")) / "kws"
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), hint="EDGESPARSE_DATA names the folder with kws/ in it")
    data = np.load(folder / "kws01_dev.npz")
    samples = ((data["x"].astype(np.float32) - data["zero_point"]) * data["scale"])[..., None].astype(np.float32)
    found = []
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(samples))
        one, other = order[:CALIBRATING], order[CALIBRATING:]
        found.append(Split({"input_1": samples[one]}, {"input_1": samples[other]}, data["y"][other]))
    return Task(folder / "kws_ref_model.onnx", tuple(found))


def digits(splits: int = SPLITS) -> Task:
    """The digit classifier: 300 of the images that it was trained on calibrate, the 200 others judge."""
    from sklearn.datasets import load_digits

    from edgesparse.examples.train_digits import SEED, TEST

    given = load_digits()
    order = np.random.default_rng(SEED).permutation(len(given.images))
    images = (given.images[order, None] / 16).astype(np.float32)
    labels = given.target[order].astype(np.int64)
    found = []
    for seed in range(splits):
        chosen = TEST + np.random.default_rng(seed).permutation(len(images) - TEST)[:CALIBRATING]
        found.append(Split({"input": images[chosen]}, {"input": images[:TEST]}, labels[:TEST]))
    return Task(PROJECT / "examples" / "digits.onnx", tuple(found))


TASKS = {"kws": keywords, "digits": digits}


def accuracy(model: ir.Model, split: Split) -> float:
    """In percent, as onnxruntime runs the model."""
    found = es.evaluate(model, {**split.inputs, "labels": split.labels}, "top1")
    return 100 * found.value


def rows(
    task: Task, patterns: Sequence[str], methods: Sequence[str], sparsities: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """One for each combination: ``accuracy`` and ``seconds`` of each split. The dense one first."""
    dense = es.load(task.model)
    yield {"pattern": "dense", "sparsity": 0.0, "method": "", "rearranged": False,
           "accuracy": [accuracy(dense, s) for s in task.splits], "error": None, "seconds": 0.0}  # fmt: skip
    for text in patterns:
        pattern = parse_pattern(text)
        orders = (False, True) if pattern.rows > 1 or pattern.fixed_sparsity is not None else (False,)
        for sparsity in sparsities if pattern.fixed_sparsity is None else (pattern.fixed_sparsity,):
            for method in methods:
                for rearranged in orders if method in ("magnitude", "obc") else orders[:1]:
                    found, errors, began = [], [], time.perf_counter()
                    for split in task.splits:
                        model = dense.clone()
                        report = es.sparsify(
                            model, text, sparsity, method, calibration=split.calibration, rearrange=rearranged
                        )
                        errors.append(report.layers[-1].error or 0.0)
                        found.append(accuracy(model, split))
                    yield {
                        "pattern": text, "sparsity": sparsity, "method": method, "rearranged": rearranged,
                        "accuracy": found, "error": float(np.mean(errors)),
                        "seconds": (time.perf_counter() - began) / len(task.splits),
                    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__)
    parser.add_argument("--models", default="kws,digits", help="default %(default)s")
    parser.add_argument("--patterns", default=PATTERNS, help="default %(default)s")
    parser.add_argument("--methods", default=METHODS, help="default %(default)s")
    parser.add_argument("--sparsity", default=SPARSITIES, help="default %(default)s")
    parser.add_argument("--splits", type=int, default=SPLITS, help="default %(default)s")
    parser.add_argument("--json", type=Path, help="write one JSON line per result to this file")
    given = parser.parse_args(arguments)
    command = as_typed(parser, arguments, given.json)
    common = {"what": "accuracy", "command": command.strip(), "machine": facts()}
    lines = []
    try:
        for name in given.models.split(","):
            task = TASKS[name](given.splits)
            sparsities = [float(s) for s in given.sparsity.split(",")]
            with progress(name) as on_progress:
                for number, row in enumerate(
                    rows(task, given.patterns.split(","), given.methods.split(","), sparsities)
                ):
                    on_progress(number, None, f"{row['pattern']} {row['sparsity']:g} {row['method']}")
                    lines.append({**common, "model": name, "samples": len(task.splits[0].labels), **row})
                    mean, spread = np.mean(row["accuracy"]), np.std(row["accuracy"])
                    print(
                        f"{name} {row['pattern']} {row['sparsity']:g} {row['method']}"
                        f"{' rearranged' if row['rearranged'] else ''}: {mean:.1f} ± {spread:.1f}", flush=True,
                    )  # fmt: skip
    except EdgeSparseError as error:
        print(f"bench.accuracy: {error}", file=sys.stderr)
        return error.exit_code
    save(given.json, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
