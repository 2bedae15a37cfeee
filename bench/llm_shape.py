"""Shapes of Llama-like decoders whose speed is compared: weights are random, time does not depend on their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a decoder with gated feed-forward networks, and a head of its own."""

    name: str
    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int = 512

    @property
    def kv_dim(self) -> int:
        return self.dim // self.heads * self.kv_heads

    def linears(self) -> Iterator[tuple[str, int, int]]:
        """(site, outputs, inputs) of the linear layers of a block, in the order in which they run."""
        dim, hidden = self.dim, self.hidden
        yield from (("q", dim, dim), ("k", self.kv_dim, dim), ("v", self.kv_dim, dim), ("o", dim, dim))
        yield from (("gate", hidden, dim), ("up", hidden, dim), ("down", dim, hidden))

    @property
    def weights(self) -> int:
        """Of all matrices that a token meets, the head included."""
        return self.layers * sum(o * i for _, o, i in self.linears()) + self.vocabulary * self.dim


SHAPES: Mapping[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("tinyllama", 2048, 5632, 22, 32, 4, 32000),
        Shape("wide", 4096, 11008, 4, 32, 32, 32000),  # layers of a model of 7 billion weights
        Shape("tiny", 128, 352, 2, 4, 2, 256),
    )
}
