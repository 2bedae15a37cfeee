"""Which rules are worth it on a machine: those with which a layer takes less time than with all of its inputs.

What a rule leaves is chosen first and then read in short runs; all inputs are read in one stream. So a rule has to
leave out enough, and how much that is depends on how fast the machine computes beside how fast it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesparse.decoder.model import Decoder, Linear
from edgesparse.decoder.sites import Place, without_low_rank
from edgesparse.decoder.store import Form, stored_as_one
from edgesparse.decoder.thresholds import with_rules

Limits = tuple[tuple[int, float], ...]
"""(row bytes, share): where the weights of an input are at least so many bytes, skipping is faster than computing with
all while a smaller share of the weights is active."""

PAYS_BELOW: Mapping[Form, Limits] = {
    "f32": ((0, 0.85),), "f16": ((0, 0.8),),
    "int8": ((0, 0.6), (2048, 0.65), (4096, 0.75)),
    "int4": ((0, 0.45), (1024, 0.55), (4096, 0.75)),
}  # fmt: skip
"""As measured on a Zen 4: small models in its caches (`bench.worth`), large ones out of memory (`bench.llm`,
`bench.decode_kernels`); floats are an estimate (their layout is the same with a rule and without). Of arm64,
instructions and llvm-mca, estimated, say no less (`bench.arm.decoders`)."""
WASM: Mapping[Form, Limits] = {**PAYS_BELOW, "int8": ((0, 0.4),), "int4": ((0, 0.2),)}
"""In node on the same machine (`bench.worth`): nothing can be asked for ahead there, and a product of bytes that do
not lie side by side takes longer."""
BITS: Mapping[Form, int] = {"f32": 32, "f16": 16, "int8": 8, "int4": 4}


def pays_below(form: Form, outputs: int, architecture: str) -> float:
    """The limit of a layer, or of a group of layers that are stored as one."""
    row_bytes, limits = outputs * BITS[form] / 8, WASM if architecture == "wasm32" else PAYS_BELOW
    return max(share for least, share in limits[form] if row_bytes >= least)


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


def only_worthwhile(decoder: Decoder, form: Form, architecture: str) -> tuple[Decoder, tuple[Dropped, ...]]:
    """``decoder`` without the rules that leave at least `pays_below` of a layer's weights, and those."""
    dropped = []
    for index, block in enumerate(decoder.blocks):
        for group in stored_as_one(block):
            limit = pays_below(form, sum(getattr(block, site).outputs for site in group), architecture)
            for site in group:
                linear: Linear = getattr(block, site)
                if linear.rule is not None:
                    active = 1 - without_low_rank(linear, linear.rule.sparsity)
                    if active >= limit:
                        dropped.append(Dropped((index, site), linear.rule.method, active, limit))
        limit = pays_below(form, block.down.outputs, architecture)
        if block.neurons is not None and 1 - block.neurons.sparsity >= limit:
            active = 1 - block.neurons.sparsity
            dropped += [Dropped((index, site), block.neurons.method, active, limit) for site in ("up", "down")]
    places = {one.place for one in dropped}
    blocks = enumerate(decoder.blocks)
    rules = {(i, s): linear.rule for i, b in blocks for s, linear in b.linears() if (i, s) not in places}
    neurons = {i: b.neurons for i, b in enumerate(decoder.blocks) if (i, "down") not in places}
    return with_rules(decoder, rules, neurons), tuple(dropped)
