"""``python -m bench.download``: bytes that a browser gets of a bundle; weights beside gzip of dense ones."""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cases import Case, parse_cases, pruned
from bench.command import as_typed
from bench.results import save
from edgesparse.compile import compile_model
from edgesparse.errors import EdgeSparseError
from edgesparse.importer import load
from edgesparse.manifest import read_manifest
from edgesparse.packed_weights import STORAGES
from edgesparse.report import print_table
from edgesparse.runtimes.node import LOADER

GZIP_LEVEL = 9
MODULES = ("model-relaxed.wasm", "model-simd128.wasm")
COLUMNS = ("model", "pattern", "zeros", "gzip of dense", *STORAGES, *MODULES, "loader")


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Bytes of everything; ``modules`` and ``loader`` as they are and as a server's gzip sends them."""
    network = pruned(case, folder)
    model = load(network.onnx)
    constants = [v.const_value for v in model.graph.initializers.values() if v.const_value is not None]
    row: dict[str, Any] = {
        "model": case.model, "pattern": case.pattern, "sparsity": case.sparsity,
        "dense_gzip_bytes": _gzip(b"".join(c.numpy().tobytes() for c in constants)), "packed_bytes": {}, "rounding": {},
    }  # fmt: skip
    for storage in STORAGES:
        bundle = compile_model(model, "browser", folder / f"{storage}.edge", storage=storage)
        manifest = read_manifest(bundle)
        if manifest.weights is None:
            continue
        row["packed_bytes"][storage] = manifest.weights.bytes
        errors = manifest.weights.rounding
        row["rounding"][storage] = {k: max((getattr(e, k) for e in errors), default=0.0) for k in ("max", "rms")}
    row["unpacked_bytes"] = manifest.weights_bytes
    row["modules"] = {m.file: [m.bytes, _gzip((bundle / m.file).read_bytes())] for m in manifest.modules}
    loader = [(bundle / name).read_bytes() for name in LOADER]
    row["loader"] = [sum(map(len, loader)), sum(map(_gzip, loader))]
    return row


def _gzip(data: bytes) -> int:
    return len(gzip.compress(data, GZIP_LEVEL, mtime=0))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.download", description=__doc__)
    add = parser.add_argument
    add("--models", default="mobilenet_v1", help="functions of examples/models.py (%(default)s)")
    add("--sparsity", default="0,0.9", help="shares of zeros (%(default)s)")
    add("--patterns", default="block:4x1", help="%(default)s")
    add("--json", type=Path, help="write one JSON line per network to this file")
    given = parser.parse_args(arguments)
    common = {"what": "download", "command": as_typed(parser, arguments, given.json)}
    rows = []
    try:
        for case in parse_cases(given.models, given.sparsity, given.patterns):
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                rows.append({**common, **measure(case, Path(folder))})
    except EdgeSparseError as error:
        print(f"bench.download: {error}", file=sys.stderr)
        return error.exit_code
    print_table("kilobytes; code also as gzip", COLUMNS, [cells(row) for row in rows])
    save(given.json, rows)
    return 0


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Of modules those for relaxed SIMD and for SIMD128, one thread."""
    weights = (f"{n / 1e3:.0f}" for n in (row["dense_gzip_bytes"], *row["packed_bytes"].values()))
    return (row["model"], row["pattern"], f"{row['sparsity']:g}", *weights, *_code(row))


def _code(row: Mapping[str, Any]) -> list[str]:
    return [
        f"{plain / 1e3:.1f} ({packed / 1e3:.1f})"
        for plain, packed in (*(row["modules"][m] for m in MODULES), row["loader"])
    ]


if __name__ == "__main__":
    sys.exit(main())
