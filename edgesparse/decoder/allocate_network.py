"""Allocation over the whole network, by what it foretells: groups of layers skip more where that costs less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import log

import numpy as np

from edgesparse.decoder import reference
from edgesparse.decoder.allocate import HIGHEST
from edgesparse.decoder.model import Decoder
from edgesparse.decoder.perplexity import chunks, log_softmax
from edgesparse.decoder.sites import Place, Progress, Shares, group_weights, groups, layer, nothing
from edgesparse.decoder.thresholds import Thresholds, bare
from edgesparse.types import Array

ROUNDS = 6
MOST_TOKENS = 2048
_PROBE = 0.06  # by how much a share is raised to see what that costs
_REACH = 0.12  # by how much shares move in the first round, at most twice that
_HALVINGS = 2  # of the reach, where a move was no gain, before the end


def by_network(
    decoder: Decoder,
    thresholds: Thresholds,
    windows: Array,
    sparsity: float,
    start: Shares,
    *,
    rounds: int = ROUNDS,
    on_progress: Progress = nothing,
) -> dict[Place, float]:
    """Shares that skip ``sparsity`` of all weights, and with which the network foretells as the dense one does.

    The cost of shares is the divergence ``KL(dense || sparse)`` of the next token on ``windows`` (at most 2048 tokens,
    evenly taken). In a round each group's share is raised a little, one group at a time, which gives the cost ``m`` of
    a weight more that is not read there; then all move by ``reach * log(mean(m) / m)``, the sum kept. A move that is no
    gain is taken back and the reach halved: the result is never worse than ``start``, on these windows.
    """
    every = -(-windows.size // MOST_TOKENS)
    measure = _Divergence(decoder, thresholds, windows[::every])
    sizes = group_weights(decoder)
    best = moved(start, dict.fromkeys(start, 0.0), sizes, sparsity)
    cost, slopes = measure.cost(best), None
    reach, halvings = _REACH, 0
    for number in range(rounds):
        on_progress(number, rounds, f"allocating over the network: {cost:.4f} bits from dense")
        if slopes is None:
            slopes = measure.slopes(best)
        found = moved(best, _wanted(slopes, reach), sizes, sparsity)
        found_cost = measure.cost(found)
        if found_cost < cost:
            best, cost, slopes = found, found_cost, None
            continue
        reach, halvings = reach / 2, halvings + 1
        if halvings > _HALVINGS:
            break
    return best


def moved(shares: Shares, by: Shares, sizes: Mapping[Place, int], sparsity: float) -> dict[Place, float]:
    """``shares + by + c`` in [0, 0.98], with the one ``c`` for which ``sparsity`` of all weights is skipped."""
    low, high = -2.0, 2.0
    for _ in range(60):
        middle = (low + high) / 2
        found = {place: min(max(share + by[place] + middle, 0.0), HIGHEST) for place, share in shares.items()}
        if sum(found[place] * sizes[place] for place in found) < sparsity * sum(sizes.values()):
            low = middle
        else:
            high = middle
    return found


def _wanted(slopes: Shares, reach: float) -> dict[Place, float]:
    """What is too cheap to be seen counts as a hundredth of the mean."""
    floor = max(float(np.mean(list(slopes.values()))) / 100, 1e-30)
    logs = {place: log(max(slope, floor)) for place, slope in slopes.items()}
    mean = float(np.mean(list(logs.values())))
    return {place: reach * min(max(mean - value, -2.0), 2.0) for place, value in logs.items()}


class _Divergence:
    """From the dense network, in bits a token, where rules hold."""

    def __init__(self, decoder: Decoder, thresholds: Thresholds, windows: Array) -> None:
        self.decoder, self.thresholds = bare(decoder), thresholds
        self.parts = list(chunks(windows))
        self.turn = reference.turns(decoder, windows.shape[1])
        self.dense = [log_softmax(reference.logits(self.decoder, part)) for part in self.parts]

    def cost(self, shares: Shares) -> float:
        under = self.thresholds.decoder(self.decoder, shares)
        return self._cost([reference.logits(under, part) for part in self.parts])

    def slopes(self, shares: Shares) -> dict[Place, float]:
        """What it costs a weight to skip more of a group, the others as they are."""
        under = self.thresholds.decoder(self.decoder, shares)
        inputs = [[reference.embedded(under, part)] for part in self.parts]
        for index, block in enumerate(under.blocks):
            for xs in inputs:
                xs.append(reference.block_output(under, index, block, xs[-1], self.turn))
        now = self._cost([reference.last_logits(under, xs[-1]) for xs in inputs])
        found = {}
        together, sizes = groups(under), group_weights(under)
        for first, share in shares.items():
            index = first[0]
            raised = min(share + _PROBE, (1 + HIGHEST) / 2)
            rule = self.thresholds.rule(first, raised)
            probed = replace(
                under.blocks[index],
                **{p[1]: replace(layer(under, p), rule=rule) for p in together[first]},  # type: ignore[arg-type]
            )
            blocks = (probed, *under.blocks[index + 1 :])
            given = []
            for xs in inputs:
                x = xs[index]
                for after, block in enumerate(blocks):
                    x = reference.block_output(under, index + after, block, x, self.turn)
                given.append(reference.last_logits(under, x))
            found[first] = (self._cost(given) - now) / ((raised - share) * sizes[first])
        return found

    def _cost(self, logits: list[Array]) -> float:
        dense = self.decoder.dense_positions
        total, count = 0.0, 0
        for one, other in zip(self.dense, logits, strict=True):
            p, q = one[:, dense:], log_softmax(other[:, dense:])
            total += float((np.exp(p) * (p - q)).sum(dtype=np.float64))
            count += p.shape[0] * p.shape[1]
        return total / count / log(2)
