"""A decoder whose linear layers lose blocks of 4 outputs x 16 inputs, calibrated on a text.

Layer after layer, on what the layers before it, pruned already, give: each is to do as the dense one did in the dense
network, so that it makes up for what was lost before it, too. Layers that read the same share a Hessian.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgesparse.decoder import reference
from edgesparse.decoder.blocks_layer import largest, removed, rounded, salient
from edgesparse.decoder.blocks_layer import left as weights_left
from edgesparse.decoder.calibrate import WINDOW, split
from edgesparse.decoder.gqsa import zero_share
from edgesparse.decoder.model import Block, Decoder, Linear
from edgesparse.decoder.perplexity import Score, chunks, score, windows_of
from edgesparse.decoder.sites import Place, Progress, nothing
from edgesparse.decoder.thresholds import bare
from edgesparse.errors import InputError
from edgesparse.sparsity.moments import Accumulator, Moments
from edgesparse.types import Array

METHODS = ("magnitude", "saliency", "obc")
STAGES = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))
"""Layers that are pruned at a time: what they read depends on those before."""
COLUMNS = 1024  # OBC's work grows with the cube of the inputs: beyond, blocks are ranked once
Half = Callable[[Decoder, int, Block, Array, reference.Watch | None], Array]


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
    decoder: Decoder, tokens: Array | None, sparsity: float, method: str = "obc", *, most_windows: int = 64,
    on_progress: Progress = nothing,
) -> PrunedDecoder:  # fmt: skip
    """``decoder`` without ``sparsity`` of the blocks of each linear layer, and without rules, made for other weights.

    Args:
        tokens: (count,), a text; cut into windows, of which every fourth judges, see `calibrate.calibrate`.
        method: "magnitude": the blocks of the largest weights stay, no text is needed; "saliency": those without which
            outputs would change most; "obc": the same, one block after the other, and the weights that stay are moved
            and rounded to 4 bits so that outputs change as little as they can.

    Raises:
        InputError: a sparsity outside of [0, 1), an unknown method, no text or one of fewer than two windows.
    """
    check(sparsity, method)
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
    made = prune_on(decoder, calibrating, sparsity, method, on_progress=on_progress)
    on_progress(0, 2, "judging on held-out text")
    dense = score(decoder, judging)
    on_progress(1, 2, "judging on held-out text")
    return replace(
        made, calibrating=len(calibrating), judging=len(judging), window=length, dense=dense,
        found=score(made.decoder, judging),
    )  # fmt: skip


def check(sparsity: float, method: str) -> None:
    """Raises InputError: as `prune_blocks`."""
    if not 0 <= sparsity < 1:
        raise InputError(f"{sparsity:g} is not in [0, 1)", where="--sparsity", hint="0.5 zeroes half of the blocks")
    if method not in METHODS:
        raise InputError(
            f"no method '{method}' for language models", where="--method", hint="one of " + ", ".join(METHODS)
        )


def prune_on(
    decoder: Decoder, windows: Array, sparsity: float, method: str, *, on_progress: Progress = nothing
) -> PrunedDecoder:
    """As `prune_blocks`; all of ``windows`` (count, length) calibrate, and nothing is judged."""
    if method == "magnitude" or not sparsity:
        return _by_magnitude(decoder, sparsity)
    turn = reference.turns(decoder, windows.shape[1])
    dense = [reference.embedded(decoder, part) for part in chunks(windows)]
    pruned = [x.copy() for x in dense]
    halves: Mapping[str, Half] = {
        "q": lambda d, i, b, x, watch: reference.attended(d, i, b, x, turn, watch),
        "gate": lambda d, i, b, x, watch: reference.fed_forward(d, i, b, x, watch),
    }
    halves = {**halves, "o": halves["q"], "down": halves["gate"]}
    blocks, layers = [], []
    for index, block in enumerate(decoder.blocks):
        made = block
        for number, stage in enumerate(STAGES):
            on_progress(index * len(STAGES) + number, len(decoder.blocks) * len(STAGES), f"block {index}")
            half = halves[stage[0]]
            sites = [site for site in stage if getattr(block, site) is not None]
            seen = _moments(decoder, index, (block, made), (dense, pruned), sites, half)
            for site in sites:
                layer: Linear = getattr(block, site)
                weight = _pruned(layer.weight.astype(np.float32), seen[site], sparsity, method)
                layers.append(PrunedLayer((index, site), zero_share(weight), seen[site].error(weight.astype(float))))
                made = _with(made, site, weight.astype(layer.weight.dtype))
            if number % 2:  # the second stage of a half
                for x, which in ((dense, block), (pruned, made)):
                    x[:] = [half(decoder, index, which, part, None) for part in x]
        blocks.append(made)
    return PrunedDecoder(replace(decoder, blocks=tuple(blocks)), method, tuple(layers))


def _pruned(weight: Array, moments: Moments, sparsity: float, method: str) -> Array:
    if method == "saliency":
        return weights_left(weight, salient(weight, moments, sparsity))
    choose = removed if weight.shape[1] <= COLUMNS else salient
    return rounded(weight, moments, choose(weight, moments, sparsity))


def _moments(
    decoder: Decoder, index: int, blocks: tuple[Block, Block], streams: tuple[list[Array], list[Array]],
    sites: list[str], half: Half,
) -> dict[str, Moments]:  # fmt: skip
    """Of what each of ``sites`` reads behind pruned layers, and what it gives in the dense network."""
    sums = {site: Accumulator(bias=False) for site in sites}
    for parts in zip(*streams, strict=True):
        read: list[dict[str, Array]] = []
        for block, x in zip(blocks, parts, strict=True):
            found: dict[str, Array] = {}
            half(decoder, index, block, x, lambda _, site, value, into=found: into.__setitem__(site, value))  # type: ignore[misc]
            read.append({site: found[site].reshape(-1, found[site].shape[-1]) for site in sites})
        for site in sites:
            weight = getattr(blocks[0], site).weight.astype(np.float32)
            sums[site].add(read[1][site], read[0][site] @ weight.T)
    return {site: total.moments() for site, total in sums.items()}


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
