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
from edgesparse.decoder.blocks_network import Walk, prune_on
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.gqsa import gqsa, inverse_diagonal
from edgesparse.decoder.model import Decoder
from edgesparse.decoder.sites import nothing
from edgesparse.errors import EdgeSparseError
from edgesparse.manifest import read_manifest
from edgesparse.types import Array

COLUMNS = ("blocks that are zero", "method", "bits per byte", "more than dense", "MB of weights a token", "CPU s")
NAMES = {
    "dense": "none: all blocks, 32 inputs share a scale",
    "magnitude": "the largest stay",
    "saliency": "the most salient stay (GQSA's `w^2 / [H^-1]_jj`), nothing is moved",
    "obc": "`obc`: one after the other, what stays is moved",
    "obc global": "`obc`, all layers compete (`--allocation global`)",
}  # fmt: skip


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['sparsity']:.0%}", NAMES[row["method"]], f"{row['bits_per_byte']:.3f}",
        f"{row['bits_per_byte'] - row['dense_bits_per_byte']:.3f}", f"{row['bytes_per_token'] / 1e6:.2f}",
        f"{row['cpu_seconds']:.0f}",
    )  # fmt: skip


def made_by(method: str, decoder: Decoder, windows: Array, sparsity: float) -> Decoder:
    if method == "dense":
        return decoder
    if method == "saliency":
        return Walk(decoder, windows, nothing).through(
            lambda _, layer, moments: gqsa(layer.weight, inverse_diagonal(moments.h), sparsity).dense(), method
        )
    name, _, allocation = method.partition(" ")
    return prune_on(decoder, windows, sparsity, name, allocation or "uniform").decoder


def measure(
    decoder: Decoder, calibrating: Array, judging: Array, sparsities: Sequence[float]
) -> Iterator[dict[str, Any]]:
    dense = 0.0
    for method, sparsity in [("dense", 0.0), *((method, s) for s in sparsities for method in list(NAMES)[1:])]:
        start = time.process_time()
        made = made_by(method, decoder, calibrating, sparsity)
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
    parser.add_argument("--sparsity", default="0.5,0.3", help="default %(default)s")
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
