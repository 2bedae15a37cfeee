"""``python -m bench.weight_blocks``: what a language model loses without blocks of 4 x 16 weights, in 4 bits.

A trained model of bytes (``pylm`` of ``$EDGESPARSE_DATA``), in windows of 256 bytes of text that it was not trained on:
64 even windows calibrate, 96 odd ones judge, as in bench.activation_sparsity. Every variant is compiled into a bundle
and judged by what that computes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from math import log
from pathlib import Path
from typing import Any

from bench.activation_sparsity import data
from bench.command import as_typed
from bench.machine import facts
from bench.results import write_rows
from edgesparse import runtimes
from edgesparse.decoder.blocks_network import METHODS, prune_on
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.model import Decoder
from edgesparse.errors import EdgeSparseError
from edgesparse.manifest import read_manifest
from edgesparse.types import Array

COLUMNS = ("blocks that are zero", "method", "bits per byte", "more than dense", "MB of weights a token", "CPU s")
NAMES = {
    "dense": "none: all blocks, 32 inputs share a scale", "magnitude": "the largest stay (magnitude)",
    "saliency": "the most salient stay (Hessian)", "obc": "one after the other, what stays is moved (obc)",
}  # fmt: skip


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['sparsity']:.0%}", NAMES[row["method"]], f"{row['bits_per_byte']:.3f}",
        f"{row['bits_per_byte'] - row['dense_bits_per_byte']:.3f}", f"{row['bytes_per_token'] / 1e6:.2f}",
        f"{row['cpu_seconds']:.0f}",
    )  # fmt: skip


def measure(
    decoder: Decoder, calibrating: Array, judging: Array, sparsities: Sequence[float]
) -> Iterator[dict[str, Any]]:
    dense = 0.0
    cases = [("dense", 0.0), *((method, s) for s in sparsities for method in METHODS)]
    for method, sparsity in cases:
        start = time.process_time()
        made = decoder if method == "dense" else prune_on(decoder, calibrating, sparsity, method).decoder
        seconds = time.process_time() - start
        with tempfile.TemporaryDirectory() as folder:
            bundle = compile_decoder(made, "host", Path(folder) / "lm.edge", weights="int4")
            known = read_manifest(bundle).decoder
            assert known is not None
            with runtimes.open(bundle, "local") as session:
                losses, cost = session.score(judging)
        bits = float(losses.mean(dtype="f8")) / log(2)
        dense = bits if method == "dense" else dense
        yield {
            "method": method, "sparsity": sparsity, "bits_per_byte": bits, "dense_bits_per_byte": dense,
            "bytes_per_token": known.bytes_per_token(list(cost.active)), "cpu_seconds": round(seconds, 1),
            "layouts": sorted({site.layout for site in known.sites}),
        }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.weight_blocks", description=__doc__)
    parser.add_argument("--sparsity", default="0.3,0.5", help="default %(default)s")
    parser.add_argument("--json", type=Path, help="write one JSON line per result to this file")
    given = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    try:
        decoder, calibrating, judging = data()
        common = {
            "what": "weight blocks", "command": as_typed(parser, arguments, given.json), "model": decoder.name,
            "machine": facts(),
        }  # fmt: skip
        for row in measure(decoder, calibrating, judging, [float(s) for s in given.sparsity.split(",")]):
            rows.append({**common, **row})
            print(" | ".join(cells(row)), flush=True)
            if given.json is not None:
                write_rows(given.json, rows)
    except EdgeSparseError as error:
        print(f"bench.weight_blocks: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
