"""What the linear layers of a decoder read on a text: a sample of it, from which thresholds are chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from edgesparse.decoder import reference
from edgesparse.decoder.model import SAME_INPUT, Block, Decoder, Linear
from edgesparse.decoder.perplexity import chunks
from edgesparse.errors import InputError
from edgesparse.types import Array

Place = tuple[int, str]
"""(block, site): one linear layer; the site "act" is the activated gate."""
Shares = Mapping[Place, float]
"""The share of the inputs that is skipped: of layers, or of groups of them, by their first."""
Progress = Callable[[int, int, str], None]
"""Called as ``on_progress(done, total, what)``."""

SAMPLE_BYTES = 512 << 20
MOST_TOKENS = 4096
OVERFLOW = "its weights are too large for floats of 32 bits: copy the model again, or train anew"
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Samples:
    """``values[place]``: (tokens, inputs), float32, what a layer reads; of the same tokens at every place."""

    values: Mapping[Place, Array]
    tokens: int

    def __getitem__(self, place: Place) -> Array:
        return self.values[place]


def nothing(done: int, total: int, what: str) -> None:
    """A progress that nobody looks at."""


def layer(decoder: Decoder, place: Place) -> Linear:
    found: Linear = getattr(decoder.blocks[place[0]], place[1])
    return found


def places(decoder: Decoder) -> list[Place]:
    """All linear layers, in the order in which they run."""
    return [(index, site) for index, block in enumerate(decoder.blocks) for site, _ in block.linears()]


def groups_of(block: Block) -> dict[str, tuple[str, ...]]:
    """The layers of a block that read the same vector, by the first of them.

    They have one rule: inputs are then chosen once, and the weights that each meets in all layers lie side by side.
    """
    found: dict[str, tuple[str, ...]] = {}
    for site, _ in block.linears():
        same = next((sites for sites in SAME_INPUT if site in sites), (site,))
        if block.predictor and "gate" in same:
            same = (site,)
        first = next(other for other in same if getattr(block, other) is not None)
        found[first] = (*found.get(first, ()), site)
    return found


def groups(decoder: Decoder) -> dict[Place, tuple[Place, ...]]:
    """`groups_of` all blocks, in the order in which they run."""
    return {
        (index, first): tuple((index, site) for site in sites)
        for index, block in enumerate(decoder.blocks)
        for first, sites in groups_of(block).items()
    }


def first_of(decoder: Decoder, place: Place) -> Place:
    """The first layer of the group of another."""
    return next(first for first, group in groups(decoder).items() if place in group)


def to_layers(decoder: Decoder, values: Mapping[Place, _Value]) -> dict[Place, _Value]:
    """What groups have, for each of their layers."""
    return {place: values[first] for first, group in groups(decoder).items() if first in values for place in group}


def weights(decoder: Decoder) -> dict[Place, int]:
    """How many weights each linear layer has."""
    return {place: layer(decoder, place).weight.size for place in places(decoder)}


def group_weights(decoder: Decoder) -> dict[Place, int]:
    """How many weights each group has."""
    sizes = weights(decoder)
    return {first: sum(sizes[place] for place in group) for first, group in groups(decoder).items()}


def overall(decoder: Decoder, shares: Shares) -> float:
    """The share of the weights of all linear layers that is not read: what "sparsity" means here."""
    sizes = weights(decoder)
    return sum(shares.get(place, 0.0) * size for place, size in sizes.items()) / sum(sizes.values())


def without_low_rank(linear: Linear, share: float) -> float:
    """Of the weights of ``linear``, those that are not read where its rule skips ``share`` of the inputs: what it reads
    of the low-rank matrices instead counts against it."""
    rank = linear.rule.rank if linear.rule else 0
    return share - rank * (linear.inputs + linear.outputs) / linear.weight.size


def left_out(decoder: Decoder) -> float:
    """`overall`, as its rules had it when they were made."""
    shares: dict[Place, float] = {}
    for index, block in enumerate(decoder.blocks):
        for site, linear in block.linears():
            if linear.rule is not None:
                shares[index, site] = without_low_rank(linear, linear.rule.sparsity)
        if block.neurons is not None:
            shares |= dict.fromkeys(((index, "up"), (index, "down")), block.neurons.sparsity)
    return overall(decoder, shares)


def sample(decoder: Decoder, windows: Array, on_progress: Progress = nothing) -> Samples:
    """Run the decoder on ``windows`` (count, length) and keep what each layer reads at evenly spaced positions.

    The first ``decoder.dense_positions`` of every window are left out, as rules do not hold there. Over 4096 tokens or
    512 MiB only every n-th position is kept.

    Raises:
        InputError: windows are no longer than the positions that stay dense, or what a layer reads overflows.
    """
    start = decoder.dense_positions
    if windows.shape[1] <= start:
        raise InputError(
            f"windows of {windows.shape[1]} tokens, of which the first {start} stay dense",
            hint="longer windows, or a smaller --dense-positions",
        )
    groups_by_first = groups(decoder)
    width = sum(layer(decoder, first).inputs for first in groups_by_first) + sum(
        block.up.outputs for block in decoder.blocks
    )
    available = len(windows) * (windows.shape[1] - start)
    every = -(-available // max(1, min(MOST_TOKENS, SAMPLE_BYTES // (4 * width))))
    kept: dict[Place, list[Array]] = {}

    def watch(index: int, site: str, x: Array) -> None:
        if site == "act" or (index, site) in groups_by_first:
            flat = x[:, start:].reshape(-1, x.shape[-1])
            if not np.isfinite(flat).all():
                raise InputError(
                    f"what '{site}' of block {index} reads on this text is infinite or no number",
                    where=f"the decoder '{decoder.name}'", hint=OVERFLOW,
                )  # fmt: skip
            kept.setdefault((index, site), []).append(flat[::every].astype(np.float32))

    for number, part in enumerate(chunks(windows)):
        on_progress(number * len(part), len(windows), "what layers read")
        with np.errstate(over="ignore", invalid="ignore"):  # said by `watch`
            reference.logits(decoder, part, watch)
    values = {place: np.concatenate(parts) for place, parts in kept.items()}
    return Samples(values | to_layers(decoder, values), len(values[0, "q"]))


def quantile(values: Array, share: float) -> float:
    """The largest of the smallest ``share`` of ``values``, 0 where that is none: so many are not above it."""
    flat = values.reshape(-1)
    count = round(share * flat.size)
    return float(np.partition(flat, count - 1)[count - 1]) if count else 0.0


def check_sparsity(sparsity: float) -> None:
    """Raises InputError for what is no share, or leaves nothing."""
    if not 0 <= sparsity < 1:
        raise InputError(
            f"a sparsity of {sparsity:g} is not from 0 to less than 1", hint="--sparsity 0.5 skips half of the weights"
        )
