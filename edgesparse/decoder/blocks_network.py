"""A decoder whose linear layers lose blocks of 4 outputs x 16 inputs, calibrated on a text.

Layer after layer, on what the layers before it, pruned already, give: each is to do as the dense one did in the dense
network, so that it makes up for what was lost before it, too. Layers that read the same share a Hessian.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgesparse.decoder import reference
from edgesparse.decoder.blocks_layer import can_remove, largest, prices, removed, rounded, salient
from edgesparse.decoder.blocks_layer import left as weights_left
from edgesparse.decoder.calibrate import WINDOW, split
from edgesparse.decoder.gqsa import zero_share
from edgesparse.decoder.model import Block, Decoder, Linear
from edgesparse.decoder.perplexity import Score, chunks, score, windows_of
from edgesparse.decoder.sites import Place, Progress, groups_of, nothing, places
from edgesparse.decoder.thresholds import bare
from edgesparse.errors import InputError
from edgesparse.patterns import zero_count
from edgesparse.sparsity.moments import Accumulator, Moments
from edgesparse.types import Array

METHODS = ("magnitude", "obc")
STAGES = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))
"""Layers that are pruned at a time: what they read depends on those before."""
ALLOCATIONS = ("uniform", "global")


@dataclass(frozen=True, slots=True)
class PrunedLayer:
    """``zeros``: the share of blocks that are zero; ``error``: ``E|y - y_dense|^2 / E|y_dense|^2`` of the outputs on
    the text that calibrates, behind layers that are pruned, too; None where nothing was looked at."""

    place: Place
    zeros: float
    error: float | None


@dataclass(frozen=True, slots=True)
class PrunedDecoder:
    """``dense``, ``found``: on windows that were held back; None without a text."""

    decoder: Decoder
    method: str
    layers: tuple[PrunedLayer, ...]
    calibrating: int = 0
    judging: int = 0
    window: int = 0
    dense: Score | None = None
    found: Score | None = None


def prune_blocks(
    decoder: Decoder, tokens: Array | None, sparsity: float, method: str = "obc", allocation: str = "uniform", *,
    most_windows: int = 64, on_progress: Progress = nothing,
) -> PrunedDecoder:  # fmt: skip
    """``decoder`` without ``sparsity`` of the blocks of each linear layer, and without rules, made for other weights.

    Args:
        tokens: (count,), a text; cut into windows, of which every fourth judges, see `calibrate.calibrate`.
        method: "magnitude": the blocks of the largest weights stay, no text is needed; "obc": blocks go one after the
            other, and the weights that stay are moved, and rounded to 4 bits, so that outputs change as little as they
            can.
        allocation: "uniform": of each layer; "global": of all layers together, see `ranked`.

    Raises:
        InputError: a sparsity outside of [0, 1), an unknown method or allocation, no text or one of fewer than two
            windows.
    """
    check(sparsity, method, allocation)
    decoder = bare(decoder)
    if tokens is None:
        if method != "magnitude":
            raise InputError(
                f"'{method}' looks at what the layers read on a text", where="--text",
                hint="--text corpus.txt, of the kind that the model will see, 64 kB or more; without one --method "
                "magnitude, which loses far more",
            )  # fmt: skip
        return _by_magnitude(decoder, sparsity)
    length = min(WINDOW, decoder.context)
    calibrating, judging = split(windows_of(tokens, length), most_windows)
    made = prune_on(decoder, calibrating, sparsity, method, allocation, on_progress=on_progress)
    on_progress(0, 2, "judging on held-out text")
    dense = score(decoder, judging)
    on_progress(1, 2, "judging on held-out text")
    return replace(
        made, calibrating=len(calibrating), judging=len(judging), window=length, dense=dense,
        found=score(made.decoder, judging),
    )  # fmt: skip


def check(sparsity: float, method: str, allocation: str = "uniform") -> None:
    """Raises InputError: as `prune_blocks`."""
    if not 0 <= sparsity < 1:
        raise InputError(f"{sparsity:g} is not in [0, 1)", where="--sparsity", hint="0.5 zeroes half of the blocks")
    if method not in METHODS:
        raise InputError(
            f"no method '{method}' for language models", where="--method", hint="one of " + ", ".join(METHODS)
        )
    if allocation not in ALLOCATIONS or (allocation == "global" and method == "magnitude"):
        raise InputError(
            f"no allocation '{allocation}' for language models and the method '{method}'", where="--allocation",
            hint="uniform; and with obc global",
        )  # fmt: skip


def prune_on(
    decoder: Decoder, windows: Array, sparsity: float, method: str, allocation: str = "uniform", *,
    on_progress: Progress = nothing,
) -> PrunedDecoder:  # fmt: skip
    """As `prune_blocks`; all of ``windows`` (count, length) calibrate, and nothing is judged."""
    if method == "magnitude" or not sparsity:
        return _by_magnitude(decoder, sparsity)
    shares = dict.fromkeys(places(decoder), sparsity)
    if allocation == "global":
        shares = ranked(decoder, windows, sparsity, on_progress)
    walk = Walk(decoder, windows, on_progress)
    layers = []

    def replaced(place: Place, layer: Linear, moments: Moments) -> Array:
        weight = layer.weight.astype(np.float32)
        choose = removed if can_remove(weight) else salient
        weight = rounded(weight, moments, choose(weight, moments, shares[place]))
        layers.append(PrunedLayer(place, zero_share(weight), moments.error(weight.astype(np.float64))))
        return weight.astype(layer.weight.dtype)

    made = walk.through(replaced, "pruning")
    return PrunedDecoder(made, method, tuple(layers))


def ranked(
    decoder: Decoder, windows: Array, sparsity: float, on_progress: Progress = nothing
) -> dict[Place, float]:  # fmt: skip
    """The share of each layer's blocks that go where all blocks of the network compete: those that cost the smallest
    part of the energy of their layer's outputs, in the dense network."""
    found: dict[Place, Array] = {}

    def look(place: Place, layer: Linear, moments: Moments) -> Array:
        found[place] = prices(layer.weight.astype(np.float32), moments)
        return layer.weight

    Walk(decoder, windows, on_progress).through(look, "ranking blocks")
    every = np.concatenate(list(found.values()))
    owner = np.repeat(np.arange(len(found)), [len(each) for each in found.values()])
    cheapest = np.argsort(every, kind="stable")[: zero_count(every.size, sparsity)]
    counts = np.bincount(owner[cheapest], minlength=len(found))
    return {place: float(n / len(each)) for (place, each), n in zip(found.items(), counts, strict=True)}


class Walk:
    """Goes through a decoder on ``windows``, layer after layer, in the dense network and in the one that is made."""

    def __init__(self, decoder: Decoder, windows: Array, on_progress: Progress) -> None:
        self.decoder, self.on_progress = decoder, on_progress
        self.turn = reference.turns(decoder, windows.shape[1])
        self.dense = [reference.embedded(decoder, part) for part in chunks(windows)]
        self.made = [x.copy() for x in self.dense]

    def through(self, replaced: Callable[[Place, Linear, Moments], Array], what: str) -> Decoder:
        """With the weights that ``replaced`` gives for each layer, after those of the layers before it."""
        blocks, total = [], len(self.decoder.blocks) * len(STAGES)
        for index, block in enumerate(self.decoder.blocks):
            made = block
            for number, stage in enumerate(STAGES):
                self.on_progress(index * len(STAGES) + number, total, f"{what}, block {index}")
                sites = [site for site in stage if getattr(block, site) is not None]
                for site, moments in self.moments(index, block, made, sites).items():
                    layer: Linear = getattr(block, site)
                    made = _with(made, site, replaced((index, site), layer, moments))
                if number % 2:  # the second stage of a half
                    self.dense = [self.half(index, block, stage[0], x) for x in self.dense]
                    self.made = [self.half(index, made, stage[0], x) for x in self.made]
            blocks.append(made)
        return replace(self.decoder, blocks=tuple(blocks))

    def moments(self, index: int, block: Block, made: Block, sites: list[str]) -> dict[str, Moments]:
        """Of what each of ``sites`` reads in what is made, and what it gives in the dense network."""
        together = [same for same in groups_of(block).values() if same[0] in sites]
        weights = {
            same[0]: np.concatenate([getattr(block, site).weight for site in same]).astype(np.float32)
            for same in together
        }
        sums = {first: Accumulator(bias=False) for first in weights}
        for dense, x in zip(self.dense, self.made, strict=True):
            should, does = self.read(index, block, sites, dense), self.read(index, made, sites, x)
            for first, weight in weights.items():
                sums[first].add(does[first], should[first] @ weight.T)
        found = {}
        for same in together:
            whole, at = sums[same[0]].moments(), 0
            for site in same:
                own = slice(at, at := at + getattr(block, site).outputs)
                found[site] = replace(whole, g=whole.g[own], energy=whole.energy[own])
        return found

    def read(self, index: int, block: Block, sites: list[str], x: Array) -> dict[str, Array]:
        found: dict[str, Array] = {}

        def watch(_: int, site: str, value: Array) -> None:
            if site in sites:
                found[site] = value.reshape(-1, value.shape[-1])

        self.half(index, block, sites[0], x, watch)
        return found

    def half(self, index: int, block: Block, site: str, x: Array, watch: reference.Watch | None = None) -> Array:
        """What the half of the block with ``site`` makes of ``x``."""
        if site in ("q", "o"):
            return reference.attended(self.decoder, index, block, x, self.turn, watch)
        return reference.fed_forward(self.decoder, index, block, x, watch)


def _by_magnitude(decoder: Decoder, sparsity: float) -> PrunedDecoder:
    layers = []

    def pruned(index: int, block: Block) -> Block:
        made = block
        for site, layer in block.linears():
            weight = layer.weight
            if sparsity:
                weight = weights_left(weight, largest(weight.astype(np.float32), sparsity))
            layers.append(PrunedLayer((index, site), zero_share(weight), None))
            made = _with(made, site, weight)
        return made

    blocks = tuple(pruned(index, block) for index, block in enumerate(decoder.blocks))
    return PrunedDecoder(replace(decoder, blocks=blocks), "magnitude", tuple(layers))


def _with(block: Block, site: str, weight: Array) -> Block:
    layers: dict[str, Any] = {site: replace(getattr(block, site), weight=weight)}
    return replace(block, **layers)
