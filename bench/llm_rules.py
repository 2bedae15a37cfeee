"""Decoders with random weights, and the rules of published methods on them: what `bench.llm` compares.

Time depends on how many entries of a vector count, not on their values. Thresholds are chosen on `CALIBRATED` random
tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from bench.llm_shape import Shape
from edgesparse.decoder.allocated import allocated
from edgesparse.decoder.cats import calibrate_cats
from edgesparse.decoder.chess import calibrate_chess
from edgesparse.decoder.magnitude import calibrate_teal
from edgesparse.decoder.model import Block, Decoder, Linear
from edgesparse.decoder.rsparse import METHOD, split_rule
from edgesparse.decoder.sites import places
from edgesparse.decoder.thresholds import Thresholds, with_rules
from edgesparse.types import Array

CALIBRATED = 24  # tokens
RHO = 0.95
"""Of R-Sparse's budget, what goes to inputs and not to the rank: the paper's, where all layers have the same. Random
weights have no low rank that is worth anything: 1 would be best for them."""


def random_decoder(shape: Shape) -> Decoder:
    """Blocks share their arrays here, but are stored one by one."""
    rng = np.random.default_rng(0)

    def weights(outputs: int, inputs: int) -> Array:
        weight: Array = rng.standard_normal((outputs, inputs), np.float32)
        weight /= np.sqrt(np.float32(inputs))
        return weight

    layers = {site: Linear(weights(outputs, inputs)) for site, outputs, inputs in shape.linears()}
    gain = np.ones(shape.dim, np.float32)
    block = Block(attention_norm=gain, mlp_norm=gain, **layers)  # type: ignore[arg-type]
    size = shape.dim // shape.heads
    return Decoder(
        shape.name, weights(shape.vocabulary, shape.dim) * np.float32(8), (block,) * shape.layers, gain,
        weights(shape.vocabulary, shape.dim), shape.heads, shape.kv_heads, size, shape.context,
        10000.0 ** (-np.arange(size // 2) / (size // 2)), False, 1e-5, "silu", size**-0.5, dense_positions=0,
    )  # fmt: skip


def random_tokens(decoder: Decoder) -> Array:
    """One window, (1, `CALIBRATED`)."""
    tokens: Array = np.random.default_rng(1).integers(0, decoder.vocabulary, (1, CALIBRATED))
    return tokens


def teal(decoder: Decoder, windows: Array, sparsity: float) -> Decoder:
    """The same share for all layers."""
    return calibrate_teal(decoder, windows, sparsity, allocation="uniform")


def rsparse(decoder: Decoder, windows: Array, sparsity: float) -> Decoder:
    """As `calibrate_rsparse`, all layers split at `RHO`."""

    def ruled(found: Thresholds) -> Decoder:
        return with_rules(decoder, {p: split_rule(found, decoder, p, sparsity, RHO) for p in places(decoder)})

    return allocated(METHOD, decoder, windows, sparsity, weighted=True, allocation="uniform").settled(ruled)


METHODS: Mapping[str, Callable[[Decoder, Array, float], Decoder]] = {
    "teal": teal, "cats": calibrate_cats, "chess": calibrate_chess, "rsparse": rsparse,
}  # fmt: skip
"""Called with a decoder, windows that calibrate, (n, w), and the share that is skipped: of inputs (teal), of neurons
(cats), of neurons and of the inputs of q and o (chess), of weights (rsparse)."""
