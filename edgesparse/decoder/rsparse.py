"""Large inputs go through the weights, small ones through an approximation of low rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgesparse.decoder import reference
from edgesparse.decoder.allocate import Allocation
from edgesparse.decoder.allocated import Allocated, allocated
from edgesparse.decoder.model import Decoder, InputRule
from edgesparse.decoder.perplexity import score
from edgesparse.decoder.sites import Place, Progress, Shares, first_of, layer, nothing, to_layers
from edgesparse.decoder.thresholds import Thresholds, with_rules
from edgesparse.types import Array

METHOD = "rsparse"
RHOS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.35, 0.2)
POPULATION = 8
_TOKENS = 512  # on which splits are compared
_JUDGES = 2048  # on which generations are
_Person = tuple[float, dict[Place, float]]


def calibrate_rsparse(
    decoder: Decoder,
    windows: Array,
    sparsity: float,
    *,
    allocation: Allocation = "block",
    generations: int = 0,
    seed: int = 0,
    on_progress: Progress = nothing,
) -> Decoder:
    """``y = W (m * x) + U_r V_r ((1 - m) * x)``: ``m`` keeps the inputs with ``|x[i]| * ||W[:, i]|| > t``.

    Of a layer's budget of ``outputs * inputs * (1 - s)`` weights, ``rho`` goes to inputs that are kept, the rest to the
    rank ``r = outputs * inputs * (1 - s) * (1 - rho) / (outputs + inputs)``. ``s`` and the norms are those of layers
    that read the same, as in `calibrate_wina` (``allocation``; the paper's is uniform). Each layer by itself takes the
    ``rho`` of `RHOS` with the least squared error of its outputs on 512 tokens: what is best for q, k and v is far
    apart. With ``generations``, an evolution goes on from there: all splits of the network together, judged by the
    loss, children of two winners with one layer's split moved by N(0, 0.1).

    Raises:
        InputError: sparsity of 1 or more, an unknown allocation, windows too short.

    Source: "R-Sparse: Rank-Aware Activation Sparsity for Efficient LLM Inference".
    """
    scored = allocated(
        METHOD, decoder, windows, sparsity, weighted=True, allocation=allocation, on_progress=on_progress
    )  # fmt: skip
    return split(scored, scored.shares(sparsity, on_progress), generations, seed, on_progress)


def split(
    scored: Allocated, shares: Shares, generations: int = 0, seed: int = 0, on_progress: Progress = nothing
) -> Decoder:
    """The decoder in which each layer's budget, one minus the share of its group, is split at its best."""
    shares = to_layers(scored.decoder, shares)
    splits: dict[Place, float] = {}
    for number, (place, share) in enumerate(shares.items()):
        on_progress(number, len(shares), "splits of rank and inputs")
        splits[place] = best_split(scored.thresholds, scored.decoder, place, share)
    if generations:
        splits = _evolve(scored, shares, splits, generations, seed, on_progress)
    return scored.settled(lambda found: _ruled(found, scored.decoder, shares, splits))


def split_rule(scored: Thresholds, decoder: Decoder, place: Place, sparsity: float, rho: float) -> InputRule | None:
    """The rule of a layer for a split. Its own ``sparsity`` is that of the inputs; the low rank is read beside them."""
    linear = layer(decoder, place)
    rank = int(linear.weight.size * (1 - sparsity) * (1 - rho) / (linear.outputs + linear.inputs))
    rule = scored.rule(first_of(decoder, place), 1 - (1 - sparsity) * rho)
    return None if rule is None else replace(rule, rank=rank)


def best_split(scored: Thresholds, decoder: Decoder, place: Place, sparsity: float) -> float:
    """The first of the best of `RHOS`: where nothing is gained, all goes to inputs."""
    if not sparsity:
        return 1.0
    linear = layer(decoder, place)
    x = scored.samples[place]
    x = x[:: -(-len(x) // _TOKENS)]
    weight = linear.weight.astype(np.float32)
    u, s, v = reference.factors(linear.weight)
    errors = []
    for rho in RHOS:
        rule = split_rule(scored, decoder, place, sparsity, rho)
        assert rule is not None
        skipped = np.where(reference.keeps(x, rule), np.float32(0), x)
        rest = skipped @ weight.T - (skipped @ v[: rule.rank].T * s[: rule.rank]) @ u[:, : rule.rank].T
        errors.append(float(np.square(rest).sum(dtype=np.float64)))
    return RHOS[int(np.argmin(errors))]


def _ruled(scored: Thresholds, decoder: Decoder, shares: Shares, splits: Shares) -> Decoder:
    return with_rules(decoder, {p: split_rule(scored, decoder, p, shares[p], rho) for p, rho in splits.items()})


def _evolve(
    scored: Allocated, shares: Shares, first: Shares, generations: int, seed: int, on_progress: Progress
) -> dict[Place, float]:
    generator = np.random.default_rng(seed)
    some = scored.windows[:: -(-scored.windows.size // _JUDGES)]

    def judged(splits: dict[Place, float]) -> _Person:
        return score(_ruled(scored.thresholds, scored.decoder, shares, splits), some).bits, splits

    def mutated(splits: Shares) -> dict[Place, float]:
        place = list(splits)[generator.integers(len(splits))]
        return {**splits, place: float(np.clip(splits[place] + generator.normal(0, 0.1), 0.05, 1.0))}

    people = [judged(dict(first)), judged(dict.fromkeys(first, 1.0))]
    people += [judged(mutated(first)) for _ in range(POPULATION - len(people))]
    for number in range(generations):
        on_progress(number, generations, f"splits by loss: {min(p[0] for p in people):.4f} bits")
        one, two = _winner(people, generator), _winner(people, generator)
        child = {place: (one if generator.random() < 0.5 else two)[place] for place in first}
        people = sorted([*people, judged(mutated(child))], key=lambda person: person[0])[:POPULATION]
    return min(people, key=lambda person: person[0])[1]


def _winner(people: Sequence[_Person], generator: np.random.Generator) -> dict[Place, float]:
    """Of a tournament of three."""
    some = [people[i] for i in generator.integers(len(people), size=3)]
    best: dict[Place, float] = min(some, key=lambda person: person[0])[1]
    return best
