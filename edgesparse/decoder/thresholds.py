"""Thresholds on what linear layers read, at any sparsity: quantiles of ``|x[i]| * norm[i]`` over a sample of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from edgesparse.decoder import reference
from edgesparse.decoder.model import Decoder, InputRule, Linear, NeuronRule
from edgesparse.decoder.sites import Place, Samples, Shares, groups, layer, places, quantile, to_layers
from edgesparse.types import Array

_Rule = TypeVar("_Rule", InputRule, NeuronRule)
LEVELS = np.linspace(0.0, 1.0, 1001)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """``norms``: (inputs,) for each group whose inputs count by their weights; those without one count by size.

    With a norm, ``|x[i]| * norm[i] > t`` is ``|x[i]| > t / norm[i]``: a threshold for each input, infinite where the
    weights are all zero.
    """

    method: str
    samples: Samples
    norms: Mapping[Place, Array]
    _tables: dict[Place, Array]

    def rule(self, place: Place, share: float) -> InputRule | None:
        """The rule of a group that skips ``share`` of the sampled inputs, more where many score the same (`measured`);
        None for 0."""
        if share <= 0:
            return None
        found = np.interp(share, LEVELS, self._quantiles(place))
        norm = self.norms.get(place)
        if norm is None:
            return InputRule(self.method, share, np.array([found], np.float32))
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 where all weights are zero
            threshold = np.where(norm > 0, np.float32(found) / norm, np.float32(np.inf)).astype(np.float32)
        return InputRule(self.method, share, threshold)

    def decoder(self, decoder: Decoder, shares: Shares) -> Decoder:
        """``decoder`` with the rules of ``shares``, by group; other rules that it had are gone."""
        return with_rules(
            decoder, to_layers(decoder, {first: self.rule(first, share) for first, share in shares.items()})
        )

    def _quantiles(self, place: Place) -> Array:
        """Of the scores at `LEVELS`; found once, as allocation asks for many shares."""
        if place not in self._tables:
            norm = self.norms.get(place)
            size = np.abs(self.samples[place])
            self._tables[place] = np.quantile(size if norm is None else size * norm, LEVELS)
        return self._tables[place]


def thresholds(method: str, samples: Samples, norms: Mapping[Place, Array] | None = None) -> Thresholds:
    return Thresholds(method, samples, norms or {}, {})


def norms(decoder: Decoder) -> dict[Place, Array]:
    """`column_norms` of each group."""
    return {first: column_norms(*(layer(decoder, p) for p in group)) for first, group in groups(decoder).items()}


def column_norms(*linears: Linear) -> Array:
    """``||W[:, i]||_2``, (inputs,), float32, ``W`` the weights of all ``linears`` on top of each other."""
    found: Array = np.sqrt(sum(np.square(linear.weight.astype(np.float32)).sum(0) for linear in linears))
    return found


def with_rules(
    decoder: Decoder,
    inputs: Mapping[Place, InputRule | None],
    neurons: Mapping[int, NeuronRule | None] | None = None,
) -> Decoder:
    """``decoder`` with these rules and no others."""
    blocks = []
    for index, block in enumerate(decoder.blocks):
        ruled: dict[str, Linear] = {
            site: replace(found, rule=inputs.get((index, site))) for site, found in block.linears()
        }
        blocks.append(replace(block, **ruled, neurons=(neurons or {}).get(index)))  # type: ignore[arg-type]
    return replace(decoder, blocks=tuple(blocks))


def measured(decoder: Decoder, samples: Samples) -> Decoder:
    """``decoder``, whose rules say which share of ``samples`` they really skip.

    That is more than was asked for where many values are the same: of zeros, as ReLU makes them, a threshold skips all
    or none.
    """
    inputs = {place: _measured(layer(decoder, place).rule, samples[place]) for place in places(decoder)}
    blocks = enumerate(decoder.blocks)
    neurons = {i: _measured(block.neurons, samples[i, "act"]) for i, block in blocks if block.neurons}
    return with_rules(decoder, inputs, neurons)


def _measured(rule: _Rule | None, x: Array) -> _Rule | None:
    return None if rule is None else replace(rule, sparsity=float((~reference.keeps(x, rule)).mean()))


def bare(decoder: Decoder) -> Decoder:
    """Without rules."""
    return with_rules(decoder, {})


def scalar_rule(method: str, values: Array, share: float) -> InputRule | None:
    """One threshold, under which ``share`` of the sizes of ``values`` lie; None for 0."""
    if share <= 0:
        return None
    return InputRule(method, share, np.array([quantile(np.abs(values), share)], np.float32))
