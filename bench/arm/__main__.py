"""The command line: ``python -m bench.arm --help``."""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import edgesparse as es
from bench.arm import tables
from bench.arm.counting import CPU, emulator
from bench.arm.layers import Count, count_bundle
from bench.arm.litert import VERSION, count_litert
from bench.arm.mca import MODELS, PROGRAM, estimate_tiles
from bench.arm.models import DEVICE, exported, pruned
from bench.results import write_rows
from edgesparse.build import compiler_version
from edgesparse.compare import TOLERANCE, output_error, run_onnxruntime
from edgesparse.errors import EdgeSparseError, GateError
from edgesparse.manifest import read_manifest
from edgesparse.types import Array

PEERS = ("litert", "none")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code, like edgesparse's own: 0, or that of the error that was printed."""
    options = _parser().parse_args(arguments)
    try:
        rows = list(_estimates() if options.mca else _counts(options))
        if options.json:
            write_rows(Path(options.json), rows)
    except EdgeSparseError as error:
        print(f"bench.arm: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of the table has seen enough
        return 0
    except OSError as error:
        print(f"bench.arm: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 3 if any("missing" in row for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench.arm",
        description="Executed instructions of arm64 programs under qemu, ours and LiteRT's. Not times.",
    )
    parser.add_argument("--models", default="mobilenet_v1", help="factories of examples/models.py, with commas")
    parser.add_argument("--sparsity", default="0,0.7,0.9", help="shares of zeros, with commas")
    parser.add_argument("--pattern", default="block:4x1", help="what is pruned together (default %(default)s)")
    parser.add_argument("--precision", default="f32", help="f32, f16, or both with a comma (default %(default)s)")
    parser.add_argument("--device", default=DEVICE, help="an arm64 device (default %(default)s)")
    parser.add_argument("--against", choices=PEERS, default="litert", help="default %(default)s")
    parser.add_argument("--layers", action="store_true", help="print the count of every layer, too")
    parser.add_argument("--mca", action="store_true", help=f"instead: estimate the spmm loops with {PROGRAM}")
    parser.add_argument("--json", metavar="FILE", help="write one JSON line per result")
    return parser


def _counts(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    facts = {
        **_commit(), "device": options.device, "emulator": _emulator(), "cpu": CPU, "compiler": compiler_version(),
    }  # fmt: skip
    for name in options.models.split(","):
        for sparsity in tables.numbers(options.sparsity):
            common = {
                "what": "executed instructions per inference", "model": name, "sparsity": sparsity,
                "pattern": options.pattern if sparsity else "dense", **facts,
            }  # fmt: skip
            for precision in options.precision.split(","):
                found, expected, x, error = _ours(name, sparsity, precision, options)
                own = "edgesparse" if precision == "f32" else f"edgesparse {precision}"
                tables.count(own, name, sparsity, common["pattern"], found.instructions)
                if options.layers:
                    tables.layers(found)
                kinds = [dataclasses.asdict(row) for row in tables.by_kind(found)]
                layers = [
                    {"name": c.layer.name, "op": c.layer.op, "kernel": c.layer.kernel, "instructions": c.instructions}
                    for c in found.layers
                ]
                yield {
                    **common, "engine": own, "precision": precision, "instructions": found.instructions,
                    "max_rel_error": error, "kinds": kinds, "layers": layers,
                }  # fmt: skip
            if options.against == "none":
                continue
            engine = f"LiteRT {VERSION}"
            try:
                instructions, y = count_litert(pruned(name, options.pattern, sparsity), x)
                error = _check(engine, expected, y)
            except EdgeSparseError as failure:  # the harness goes on: what is missing is said, and in the exit code
                print(f"{engine}, {name} at {sparsity:g}: {failure}", file=sys.stderr)
                yield {**common, "engine": engine, "missing": str(failure)}
                continue
            tables.count(engine, name, sparsity, common["pattern"], instructions)
            yield {**common, "engine": engine, "instructions": instructions, "max_rel_error": error}


def _ours(
    name: str, sparsity: float, precision: str, options: argparse.Namespace
) -> tuple[Count, Array, Array, float]:  # fmt: skip
    """Our count, onnxruntime's output for the same random image, the image, and our largest relative error."""
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        path = exported(name)
        if sparsity:
            path = Path(folder, "model.onnx")
            es.save(pruned(name, options.pattern, sparsity), path)
        out = Path(folder, "model.edge")
        bundle = es.compile(es.load(path), device=options.device, out=out, precision=precision)
        manifest = read_manifest(bundle)
        x = np.random.default_rng(0).standard_normal(manifest.inputs[0].shape).astype(np.float32)
        (expected,) = run_onnxruntime(path, manifest, [(x,)])[0]
        with es.open(bundle, runtime="qemu") as session:
            ((y,),) = session.run_samples([(x,)])
        error = _check("edgesparse", expected, y, TOLERANCE[precision])
        return count_bundle(bundle, [x], isa=manifest.isas[0]), expected, x, error


def _check(engine: str, expected: Array, y: Array, allowed: float = TOLERANCE["f32"]) -> float:
    """The largest relative error. Raises GateError when it is too large."""
    error = output_error("", [expected], [y.reshape(expected.shape)]).max_rel
    if not error <= allowed:
        raise GateError(
            f"the output of {engine} is off by {error:.2g}, allowed is {allowed:g}",
            where="against onnxruntime", hint="wrong answers are not counted",
        )  # fmt: skip
    return error


def _estimates() -> Iterator[dict[str, Any]]:
    found = estimate_tiles()
    tables.estimates(found)
    for row in found:
        yield {
            "what": "fma per cycle, estimated by llvm-mca", **_commit(), "kernel": row.kernel, "mcpu": row.model,
            "stands_for": MODELS[row.model], "fma": row.multiply_adds, "instructions": row.instructions,
            "cycles": row.cycles, "fma_per_cycle": row.per_cycle, "compiler": compiler_version(),
        }  # fmt: skip


def _emulator() -> str:
    path, major = emulator()
    return f"{Path(path).name} {major}"


def _commit() -> dict[str, str]:
    """The commit that was measured, where git knows it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return {"commit": subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown"}


if __name__ == "__main__":
    sys.exit(main())
