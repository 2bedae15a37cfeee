"""``python -m bench.activation_sparsity``: what a language model loses by activation sparsity, by method and sparsity.

A trained model of bytes (``pylm`` of ``$EDGESPARSE_DATA``), in windows of 256 bytes of text that it was not trained on:
64 even windows calibrate, 96 odd ones judge; the first four positions of each stay dense. Sparsity is the share of the
weights of all linear layers that is not read. CATS and CHESS skip neurons (CHESS also inputs of q and o): their lines
give the share of neurons, and that of all weights that follows; where they reach the overall share of the others, they
are there, too.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.command import as_typed
from bench.machine import facts
from bench.results import write_rows
from edgesparse.decoder.achieved import achieved
from edgesparse.decoder.allocated import Allocated, allocated
from edgesparse.decoder.cats import calibrate_cats
from edgesparse.decoder.cett import lazy_layers, ppl_sparsity
from edgesparse.decoder.checkpoint import load_checkpoint
from edgesparse.decoder.chess import calibrate_chess
from edgesparse.decoder.model import Decoder
from edgesparse.decoder.perplexity import windows_of
from edgesparse.decoder.random_inputs import calibrate_random
from edgesparse.decoder.rsparse import split
from edgesparse.decoder.sites import Shares, groups, overall, places
from edgesparse.decoder.topk import calibrate_topk
from edgesparse.errors import EdgeSparseError, InputError
from edgesparse.types import Array

PROJECT = Path(__file__).resolve().parent.parent
SPARSITIES = "0.3,0.4,0.5,0.6,0.7"
WINDOW, CALIBRATING, JUDGING = 256, 64, 96
LAZY = 16  # windows for PPL-p% sparsity
MOST_NEURONS = 0.95
ALLOCATIONS = {
    "teal": ("uniform", "block", "network"), "wina": ("uniform", "block", "network"), "rsparse": ("uniform", "network"),
}  # fmt: skip
NEURONS: dict[str, Callable[..., Decoder]] = {"cats": calibrate_cats, "chess": calibrate_chess}
NEURON_SITES = {"cats": ("up", "down"), "chess": ("q", "o", "up", "down")}

Case = tuple[str, str, float, float | None, Callable[[], Decoder]]
"""Method, allocation, asked sparsity of all weights (or of neurons), share of neurons, and how it is made."""


def data(model: str = "pylm") -> tuple[Decoder, Array, Array]:
    """The decoder, and the windows that calibrate and that judge."""
    folder = Path(os.environ.get("EDGESPARSE_DATA", PROJECT.parent / "shared" / "data")) / model
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), hint="EDGESPARSE_DATA names the folder with pylm/ in it")
    text = np.frombuffer((folder / "valid.txt").read_bytes(), np.uint8).astype(np.int64)
    windows = windows_of(text, WINDOW)
    return load_checkpoint(folder), windows[0::2][:CALIBRATING], windows[1::2][:JUDGING]


class Makers:
    """Calibrations that several cases have in common are made once."""

    def __init__(self, decoder: Decoder, windows: Array, highest: float) -> None:
        self.decoder, self.windows, self.highest = decoder, windows, highest
        self.prepared: dict[str, Allocated] = {}
        self.by_network: dict[tuple[str, float], Shares] = {}

    def allocated(self, method: str) -> Allocated:
        if method not in self.prepared:
            self.prepared[method] = allocated(
                method, self.decoder, self.windows, self.highest, weighted=method == "wina", allocation="network"
            )
        return self.prepared[method]

    def shares(self, method: str, allocation: str, sparsity: float) -> Shares:
        if allocation == "uniform":
            return dict.fromkeys(groups(self.decoder), sparsity)
        made = self.allocated(method)
        assert made.paths is not None
        if allocation == "block":
            return made.paths.shares(sparsity)
        if (method, sparsity) not in self.by_network:
            self.by_network[method, sparsity] = made.shares(sparsity)
        return self.by_network[method, sparsity]

    def make(self, method: str, allocation: str, sparsity: float) -> Decoder:
        if method == "rsparse":
            return split(self.allocated("wina"), self.shares("wina", allocation, sparsity))
        made, shares = self.allocated(method), self.shares(method, allocation, sparsity)
        return made.settled(lambda scored: scored.decoder(self.decoder, shares))


def cases(decoder: Decoder, windows: Array, sparsities: Sequence[float], methods: Sequence[str]) -> Iterator[Case]:
    makers = Makers(decoder, windows, max(sparsities))
    for s in sparsities:
        if "random" in methods:
            yield "random", "uniform", s, None, partial(calibrate_random, decoder, s)
        if "topk" in methods:
            yield "topk", "uniform", s, None, partial(calibrate_topk, decoder, windows, s)
        for method, allocations in ALLOCATIONS.items():
            for allocation in allocations if method in methods else ():
                yield method, allocation, s, None, partial(makers.make, method, allocation, s)
        for method, calibrate in NEURONS.items():
            if method in methods:
                yield method, "neurons", s, s, partial(calibrate, decoder, windows, s)
                part = overall(decoder, {p: 1.0 for p in places(decoder) if p[1] in NEURON_SITES[method]})
                if s / part <= MOST_NEURONS:
                    yield method, "uniform", s, s / part, partial(calibrate, decoder, windows, s / part)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.activation_sparsity", description=__doc__)
    parser.add_argument("--sparsity", default=SPARSITIES, help="default %(default)s")
    parser.add_argument("--methods", default="random,teal,wina,rsparse,topk,cats,chess", help="default %(default)s")
    parser.add_argument("--json", type=Path, help="write one JSON line per result to this file")
    parser.add_argument("--own", action=argparse.BooleanOptionalAction, default=True, help="PPL-p%% sparsity, too")
    given = parser.parse_args(arguments)
    command = as_typed(parser, arguments, given.json)
    rows: list[dict[str, Any]] = []

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        if given.json is not None:  # each at once: all of them take an hour
            write_rows(given.json, rows)

    try:
        decoder, calibrating, judging = data()
        common: dict[str, Any] = {
            "what": "activation sparsity",
            "command": command,
            "model": decoder.name,
            "machine": facts(),
        }
        dense = achieved(decoder, judging)
        common |= {"dense_bits_per_byte": dense.score.bits, "dense_bytes_per_token": dense.bytes_per_token}
        print(f"dense: {dense.score.bits:.4f} bits per byte, {dense.bytes_per_token} bytes per token", flush=True)
        sparsities = [float(s) for s in given.sparsity.split(",")]
        for method, allocation, s, neurons, make in cases(decoder, calibrating, sparsities, given.methods.split(",")):
            start = time.process_time()
            made = make()
            seconds = time.process_time() - start
            found = achieved(made, judging)
            add({
                **common, "method": method, "allocation": allocation, "sparsity": s, "neurons": neurons,
                "bits_per_byte": found.score.bits, "achieved": found.sparsity, "bytes_per_token": found.bytes_per_token,
                "layers": {f"{index}.{site}": round(share, 4) for (index, site), share in found.shares.items()},
                "cpu_seconds": round(seconds, 1),
            })  # fmt: skip
            print(
                f"{method} {allocation} {s:g}: {found.score.bits:.4f} bits per byte, {found.sparsity:.1%} not read",
                flush=True,
            )
        for row in own(decoder, calibrating, common) if given.own else ():
            add(row)
    except EdgeSparseError as error:
        print(f"bench.activation_sparsity: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def own(decoder: Decoder, windows: Array, common: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """How sparse the neurons are by themselves."""
    some = windows[:: -(-len(windows) // LAZY)]
    lazy = [{"nonzero": x.nonzero, "half": x.half} for x in lazy_layers(decoder, some)]
    for percent in (1.0, 5.0, 10.0):
        found = ppl_sparsity(decoder, some, percent)
        yield {
            **common, "percent": percent, "cett": found.cett, "neurons": found.sparsity, "layers": found.layers,
            "ratio": found.ratio, "lazy": lazy,
        }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
