"""How much each group of layers skips: the same everywhere, or more where it costs less.

`by_block` is the greedy allocation of "Training-Free Activation Sparsity in Large Language Models" (TEAL). `by_network`
is in its own file, as it looks at the loss.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from edgesparse.decoder import reference
from edgesparse.decoder.model import Block, Decoder
from edgesparse.decoder.perplexity import AT_ONCE
from edgesparse.decoder.sites import Place, Progress, groups, groups_of, nothing
from edgesparse.decoder.thresholds import Thresholds
from edgesparse.errors import InputError
from edgesparse.types import Array

Allocation = Literal["uniform", "block", "network"]
HIGHEST = 0.98  # no group skips more
ATTENTION = ("q", "o")  # groups of layers
_STEP = 0.05  # of the weights of a group of average size
_LAST = 0.25  # the part of each window, at its end, in which the error is measured


def check_allocation(name: str) -> None:
    if name not in get_args(Allocation):
        raise InputError(
            f"no allocation '{name}'", where="--allocation", hint="one of " + ", ".join(get_args(Allocation))
        )


def uniform(decoder: Decoder, sparsity: float) -> dict[Place, float]:
    return dict.fromkeys(groups(decoder), sparsity)


@dataclass(frozen=True, slots=True)
class Path:
    """What greedy allocation did in one block. ``sparsity``: (steps,), of the block's weights, rising from 0;
    ``shares``: (steps, groups), the groups by their first layers, ``sites``; ``errors``: (steps,), squared, of the
    block's output relative to its size, or as they are where a block adds nothing.
    """

    sites: tuple[str, ...]
    sparsity: Array
    shares: Array
    errors: Array

    def at(self, sparsity: float) -> dict[str, float]:
        """The shares at any sparsity up to the last, between steps by a straight line."""
        return {site: float(np.interp(sparsity, self.sparsity, self.shares[:, i])) for i, site in enumerate(self.sites)}


@dataclass(frozen=True, slots=True)
class Paths:
    """Of all blocks, each to the same highest sparsity: shares for any sparsity below it without more work."""

    blocks: tuple[Path, ...]

    def shares(self, sparsity: float) -> dict[Place, float]:
        return {(i, site): share for i, path in enumerate(self.blocks) for site, share in path.at(sparsity).items()}


def by_block(
    decoder: Decoder, thresholds: Thresholds, windows: Array, sparsity: float, on_progress: Progress = nothing
) -> Paths:
    """Raise in each block, step by step, the share of that group which adds least to the error of the block's output.

    The error is ``||y - y_dense||^2`` over the last quarter of the positions, for the inputs that the block has in the
    dense network. A step skips as many weights whatever the group, 5% of one of average size at most; it ends where the
    block skips ``sparsity`` of its weights.
    """
    inputs = block_inputs(decoder, windows)
    found = []
    for index, block in enumerate(decoder.blocks):
        on_progress(index, len(decoder.blocks), f"allocating in block {index}")
        found.append(_path(decoder, index, block, thresholds, inputs[index], sparsity))
    return Paths(tuple(found))


def block_inputs(decoder: Decoder, windows: Array) -> list[Array]:
    """What each block reads, (count, positions, dim), and what the last one gives."""
    x = reference.embedded(decoder, windows)
    turn = reference.turns(decoder, windows.shape[1])
    found = [x]
    for index, block in enumerate(decoder.blocks):
        found.append(reference.block_output(decoder, index, block, found[-1], turn))
    return found


def _path(decoder: Decoder, index: int, block: Block, thresholds: Thresholds, x: Array, sparsity: float) -> Path:
    together = groups_of(block)
    sites = tuple(together)
    sizes = {first: sum(getattr(block, site).weight.size for site in group) for first, group in together.items()}
    step = _STEP * sum(sizes.values()) / len(sites)
    output = _Output(decoder, index, block, thresholds, x)
    sparsities, steps, errors = greedy(sites, sizes, step, sparsity, output.error)
    return Path(sites, np.array(sparsities), np.array([[at[site] for site in sites] for at in steps]), np.array(errors))


class _Output:
    """Of one block at the last positions. Only attention looks at the others; and it is computed anew only where its
    own shares have changed."""

    def __init__(self, decoder: Decoder, index: int, block: Block, thresholds: Thresholds, x: Array) -> None:
        positions = x.shape[1]
        self.decoder, self.late = decoder, replace(decoder, dense_positions=0)
        self.index, self.block, self.thresholds = index, block, thresholds
        self.last = max(positions - max(1, int(positions * _LAST)), decoder.dense_positions)
        self.turn = reference.turns(decoder, positions)
        rows = max(1, AT_ONCE // positions)
        self.parts = [x[i : i + rows] for i in range(0, len(x), rows)]
        self.attended: dict[tuple[float, ...], list[Array]] = {}
        self.dense = self.of({})
        self.size = sum(
            float(np.square(y - part[:, self.last :]).sum(dtype=np.float64))
            for y, part in zip(self.dense, self.parts, strict=True)
        )

    def error(self, shares: Mapping[str, float]) -> float:
        pairs = zip(self.of(shares), self.dense, strict=True)
        found = sum(float(np.square(a - b).sum(dtype=np.float64)) for a, b in pairs)
        return found / self.size if self.size else found

    def of(self, shares: Mapping[str, float]) -> list[Array]:
        ruled: dict[str, Any] = {}
        for first, sites in groups_of(self.block).items():
            rule = self.thresholds.rule((self.index, first), shares.get(first, 0.0))
            ruled |= {site: replace(getattr(self.block, site), rule=rule) for site in sites}
        block = replace(self.block, **ruled)
        key = tuple(shares.get(site, 0.0) for site in ATTENTION)
        if key not in self.attended:
            while len(self.attended) > len(ATTENTION):  # the current one and its candidates
                self.attended.pop(next(iter(self.attended)))
            self.attended[key] = [
                reference.attended(self.decoder, self.index, block, part, self.turn)[:, self.last :]
                for part in self.parts
            ]
        return [reference.fed_forward(self.late, self.index, block, x) for x in self.attended[key]]


def greedy(
    sites: tuple[str, ...],
    sizes: dict[str, int],
    step: float,
    sparsity: float,
    error: Callable[[dict[str, float]], float],
) -> tuple[list[float], list[dict[str, float]], list[float]]:
    """(sparsity, shares, error) after each step. What a group would add is only measured anew where it might be least:
    it is compared with what the others would have added when they were last looked at."""
    total = sum(sizes.values())
    now = dict.fromkeys(sites, 0.0)
    sparsities, steps, errors = [0.0], [dict(now)], [0.0]
    queue: list[tuple[float, int, str]] = [(-np.inf, -1, site) for site in sites]  # (increase, measured in, site)
    measured_error: dict[str, float] = {}
    while sparsities[-1] < sparsity - 1e-9 and queue:
        _, measured, site = heapq.heappop(queue)
        raised = {**now, site: min(now[site] + step / sizes[site], HIGHEST)}
        if measured != len(errors):
            measured_error[site] = error(raised)
            gained = (raised[site] - now[site]) * sizes[site]
            heapq.heappush(queue, ((measured_error[site] - errors[-1]) / gained, len(errors), site))
            continue
        now = raised
        errors.append(measured_error[site])
        steps.append(dict(now))
        sparsities.append(sum(now[s] * sizes[s] for s in sites) / total)
        if now[site] < HIGHEST:
            heapq.heappush(queue, (-np.inf, -1, site))
    return sparsities, steps, errors
