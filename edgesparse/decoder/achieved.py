"""What rules skip on a text they were not made on, and what a token reads with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesparse.decoder import reference
from edgesparse.decoder.model import Decoder, InputRule, NeuronRule
from edgesparse.decoder.perplexity import Score, score
from edgesparse.decoder.sites import Place, layer, overall, places, weights, without_low_rank
from edgesparse.types import Array


@dataclass(frozen=True, slots=True)
class Achieved:
    """``shares``: of the weights of each linear layer, those that are not read, where rules hold; for neurons, up and
    down have that of the neurons. ``sparsity``: of all linear layers together. ``bytes_per_token``: see there."""

    score: Score
    shares: dict[Place, float]
    sparsity: float
    bytes_per_token: int


def achieved(decoder: Decoder, windows: Array) -> Achieved:
    """Run ``decoder`` on ``windows`` (count, length), more of them than ``dense_positions``."""
    skipped: dict[Place, list[float]] = {}
    rules = {place: layer(decoder, place).rule for place in places(decoder)}
    neurons = {index: block.neurons for index, block in enumerate(decoder.blocks)}
    start = decoder.dense_positions

    def watch(index: int, site: str, x: Array) -> None:
        rule: InputRule | NeuronRule | None = neurons[index] if site == "act" else rules[index, site]
        if rule is not None and x.shape[1] > start:
            kept = reference.keeps(x[:, start:], rule)
            skipped.setdefault((index, site), []).extend((~kept).mean((1, 2)).tolist())

    found = score(decoder, windows, watch)
    shares = dict.fromkeys(places(decoder), 0.0)
    for (index, site), parts in skipped.items():
        for place in ((index, "up"), (index, "down")) if site == "act" else ((index, site),):
            shares[place] = float(np.mean(parts))
    for place, share in shares.items():
        shares[place] = without_low_rank(layer(decoder, place), share)
    return Achieved(found, shares, overall(decoder, shares), bytes_per_token(decoder, shares))


def bytes_per_token(decoder: Decoder, shares: dict[Place, float]) -> int:
    """Of weights of 8 bits, for a token where rules hold: what is kept of each linear layer, a scale (4 bytes) each
    output, the row of the embedding, the head, and the norms as floats. Not the cache of keys and values."""
    read = sum((1 - shares.get(place, 0.0)) * size for place, size in weights(decoder).items())
    scales = 4 * sum(layer(decoder, place).outputs for place in places(decoder))
    head = decoder.vocabulary * (decoder.dim + 4)
    norms = 4 * decoder.dim * (2 * len(decoder.blocks) + 1)
    return round(read) + scales + decoder.dim + head + norms
