"""Which rules are worth it on a machine: those with which a layer takes less time than with all of its inputs.

What a rule leaves is chosen first and then read in short runs; all inputs are read in one stream. So a rule has to
leave out enough, and how much that is depends on how fast the machine computes beside how fast it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesparse.decoder.model import Decoder
from edgesparse.decoder.sites import Place, without_low_rank
from edgesparse.decoder.thresholds import with_rules

PAYS_BELOW: Mapping[str, Mapping[str, float]] = {
    "x86_64": {"f32": 0.85, "f16": 0.8, "int8": 0.7, "int4": 0.45},
    "aarch64": {"f32": 0.85, "f16": 0.8, "int8": 0.7, "int4": 0.45},
    "wasm32": {"f32": 0.85, "f16": 0.8, "int8": 0.7, "int4": 0.45},
}
"""By architecture and form, the share of active weights under which skipping is faster than computing with all."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A rule that is not used: of a layer's weights it would leave ``active``, and ``limit`` is `PAYS_BELOW`."""

    place: Place
    method: str
    active: float
    limit: float

    @property
    def why(self) -> str:
        return f"{self.method} leaves {self.active:.0%} of its weights: skipping is faster below {self.limit:.0%}"


def only_worthwhile(decoder: Decoder, limit: float) -> tuple[Decoder, tuple[Dropped, ...]]:
    """``decoder`` without the rules that leave at least ``limit`` of a layer's weights (at 1: with all), and those."""
    if limit >= 1:
        return decoder, ()
    dropped = []
    for index, block in enumerate(decoder.blocks):
        for site, linear in block.linears():
            if linear.rule is not None:
                active = 1 - without_low_rank(linear, linear.rule.sparsity)
                if active >= limit:
                    dropped.append(Dropped((index, site), linear.rule.method, active, limit))
        if block.neurons is not None and 1 - block.neurons.sparsity >= limit:
            active = 1 - block.neurons.sparsity
            dropped += [Dropped((index, site), block.neurons.method, active, limit) for site in ("up", "down")]
    places = {one.place for one in dropped}
    blocks = enumerate(decoder.blocks)
    rules = {(i, s): linear.rule for i, b in blocks for s, linear in b.linears() if (i, s) not in places}
    neurons = {i: b.neurons for i, b in enumerate(decoder.blocks) if (i, "down") not in places}
    return with_rules(decoder, rules, neurons), tuple(dropped)
