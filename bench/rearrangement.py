"""``python -m bench.rearrangement``: what an order of channels gains, layer by layer, and that it changes no output.

The trained networks of ``$EDGESPARSE_DATA`` and those of examples/models.py, whose weights are random, at full size.
Outputs of the dense network before and after, computed by onnxruntime, are compared first.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from bench.cases import exported
from bench.command import as_typed
from bench.machine import facts
from bench.results import save
from edgesparse.errors import EdgeSparseError, InputError
from edgesparse.importer import load
from edgesparse.passes.pipeline import simplify
from edgesparse.passes.rearrange_channels import RearrangeChannels
from edgesparse.passes.weights import find_weights
from edgesparse.patterns import Pattern, parse_pattern
from edgesparse.report import print_table, progress
from edgesparse.types import Array

TRAINED = {
    "kws": "kws/kws_ref_model.onnx", "vww": "vww/vww_96.onnx", "resnet8": "resnet8/resnet8_cifar10.onnx",
    "ultraface": "ultraface/version-RFB-320.onnx",
}  # fmt: skip
MODELS = "kws,vww,resnet8,ultraface,mobilenet_v1,mobilenet_v2,resnet18"
EQUAL = 1e-5  # of the largest output


def network(name: str) -> ir.Model:
    if name not in TRAINED:
        return load(exported(name))
    folder = Path(os.environ.get("EDGESPARSE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    path = folder / TRAINED[name]
    if not path.is_file():
        raise InputError("no such file", where=str(path), hint="set EDGESPARSE_DATA to the folder of real models")
    return load(path)


def rearranged(name: str, pattern: Pattern, sparsity: float) -> dict[str, Any]:
    """``layers``: of each weight the share of ``|w|`` that the pattern keeps before and after, and why rows stay."""
    model = network(name)
    simplify(model)
    weights = tuple(w for w in find_weights(model) if not w.dense and not pattern.refuses(w.array().shape, False))
    before = _outputs(model)
    began = time.process_time()
    work = RearrangeChannels(weights, {w.name: pattern for w in weights}, {w.name: sparsity for w in weights})
    work(model)
    seconds = time.process_time() - began
    after = _outputs(model)
    shapes = {w.name: list(w.array().shape) for w in weights}
    names = {w.name: w.nodes[0] or w.name for w in weights}
    return {
        "model": name, "trained": name in TRAINED, "pattern": pattern.text, "zeros": sparsity, "cpu_seconds": seconds,
        "difference": max(
            float(np.max(np.abs(a - b)) / max(float(np.max(np.abs(a))), 1e-30))
            for a, b in zip(before, after, strict=True)
        ),
        "layers": [
            {"layer": names[g.name], "shape": shapes[g.name], "natural": g.natural, "rearranged": g.rearranged,
             "rows_stay": work.pinned.get(g.name, "")}
            for g in work.gains
        ],
    }  # fmt: skip


def _outputs(model: ir.Model) -> list[Array]:
    """Of onnxruntime, on one normal input."""
    import onnxruntime as ort

    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    feeds = {
        v.name: random.standard_normal([d if isinstance(d, int) else 1 for d in v.shape]).astype(np.float32)
        for v in session.get_inputs()
    }
    return [np.asarray(y) for y in session.run(None, feeds)]


COLUMNS = ("model", "weights", "natural", "rearranged", "keep more", "outputs differ by", "CPU s")


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row of the table: means over layers; how many of those that lose anything in the natural order keep more."""
    layers = row["layers"]
    natural, after = (float(np.mean([x[key] for x in layers])) for key in ("natural", "rearranged"))
    better = sum(x["rearranged"] > x["natural"] for x in layers)
    return [
        row["model"], "trained" if row["trained"] else "random", f"{natural:.4f}", f"{after:.4f}",
        f"{better} of {sum(x['natural'] < 1 for x in layers)}", f"{row['difference']:.1e}", f"{row['cpu_seconds']:.1f}",
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.rearrangement", description=__doc__)
    parser.add_argument("--models", default=MODELS, help="default %(default)s")
    parser.add_argument("--pattern", default="block:4x1", help="default %(default)s")
    parser.add_argument("--sparsity", type=float, default=0.5, help="default %(default)s")
    parser.add_argument("--json", type=Path, help="write one JSON line per network to this file")
    given = parser.parse_args(arguments)
    common = {
        "what": "rearrangement", "command": as_typed(parser, arguments, given.json),
        "machine": facts(),
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    try:
        pattern = parse_pattern(given.pattern)
        names = given.models.split(",")
        with progress("bench.rearrangement") as on_progress:
            for number, name in enumerate(names):
                on_progress(number, len(names), name)
                rows.append({**common, **rearranged(name, pattern, given.sparsity)})
    except EdgeSparseError as error:
        print(f"bench.rearrangement: {error}", file=sys.stderr)
        return error.exit_code
    print_table(f"{given.pattern} at {given.sparsity:g}: share of |w| kept", COLUMNS, [tuple(cells(r)) for r in rows])
    save(given.json, rows)
    if unequal := [row["model"] for row in rows if row["difference"] > EQUAL]:
        print(f"bench.rearrangement: outputs of {', '.join(unequal)} differ by more than {EQUAL:g}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
