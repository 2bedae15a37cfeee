"""A decoder in NumPy, many sequences at once: what calibration looks at, and what tests compare with.

Nothing here skips work: a rule sets what it skips to zero.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from math import erf, pi, sqrt

import numpy as np

from edgesparse.decoder.model import Block, Decoder, InputRule, Linear, NeuronRule
from edgesparse.types import Array

Watch = Callable[[int, str, Array], None]
"""Called as ``watch(block, site, x)``: ``x`` is what the linear layer ``site`` reads, before its rule, as
(sequences, positions, inputs); for the site "act" it is the activated gate, before its rule."""


def logits(decoder: Decoder, tokens: Array, watch: Watch | None = None) -> Array:
    """``tokens``: (sequences, positions), integers -> (sequences, positions, vocabulary), float32.

    Each sequence begins at position 0; rules hold from ``decoder.dense_positions`` on.
    """
    x = embedded(decoder, tokens)
    turn = turns(decoder, tokens.shape[1])
    for index, block in enumerate(decoder.blocks):
        x = block_output(decoder, index, block, x, turn, watch)
    return last_logits(decoder, x)


def embedded(decoder: Decoder, tokens: Array) -> Array:
    """What the first block reads, (sequences, positions, dim)."""
    x: Array = decoder.embedding[tokens].astype(np.float32) * np.float32(decoder.embedding_scale)
    return x


def turns(decoder: Decoder, positions: int) -> tuple[Array, Array]:
    """Cosines and sines of RoPE, (positions, rotary / 2)."""
    angles = np.arange(positions)[:, None] * decoder.frequencies[None].astype(np.float64)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def last_logits(decoder: Decoder, x: Array) -> Array:
    """``x``: what the last block gives."""
    x = rms_norm(x, decoder.final_norm, decoder.norm_eps)
    head = decoder.embedding if decoder.head is None else decoder.head
    return _capped(_times(x, head.astype(np.float32)), decoder.logit_cap)


def block_output(
    decoder: Decoder, index: int, block: Block, x: Array, turn: tuple[Array, Array], watch: Watch | None = None
) -> Array:
    """``x``: (sequences, positions, dim) -> the same shape; ``turn``: cosines and sines, (positions, rotary / 2)."""
    return fed_forward(decoder, index, block, attended(decoder, index, block, x, turn, watch), watch)


def attended(
    decoder: Decoder, index: int, block: Block, x: Array, turn: tuple[Array, Array], watch: Watch | None = None
) -> Array:
    """``x += o(attention(norm(x)))``: the first half of a block."""

    def apply(site: str, layer: Linear, value: Array) -> Array:
        if watch:
            watch(index, site, value)
        return linear(layer, value, decoder.dense_positions)

    h = rms_norm(x, block.attention_norm, decoder.norm_eps)
    q, k, v = (_heads(apply(s, getattr(block, s), h), decoder.head_dim) for s in ("q", "k", "v"))
    if block.q_norm is not None:
        q = rms_norm(q, block.q_norm, decoder.norm_eps)
    if block.k_norm is not None:
        k = rms_norm(k, block.k_norm, decoder.norm_eps)
    q, k = rotate(q, turn, decoder.interleaved), rotate(k, turn, decoder.interleaved)
    h = apply("o", block.o, attention(decoder, block, q, k, v))
    return x + (h if block.post_attention_norm is None else rms_norm(h, block.post_attention_norm, decoder.norm_eps))


def fed_forward(decoder: Decoder, index: int, block: Block, x: Array, watch: Watch | None = None) -> Array:
    """``x += down(act(gate(norm(x))) * up(norm(x)))``: the second half, each position by itself."""

    def apply(site: str, layer: Linear, value: Array) -> Array:
        if watch:
            watch(index, site, value)
        return linear(layer, value, decoder.dense_positions)

    h = rms_norm(x, block.mlp_norm, decoder.norm_eps)
    act = ACTIVATIONS[decoder.activation]
    if block.gate is None:
        neurons = act(apply("up", block.up, h[..., block.predictor :]))
    else:
        a = act(apply("gate", block.gate, h[..., : block.predictor or None]))
        if watch:
            watch(index, "act", a)
        if block.neurons is not None:
            a = kept(a, block.neurons, decoder.dense_positions)
        neurons = a * apply("up", block.up, h[..., block.predictor :])
    h = apply("down", block.down, neurons)
    return x + (h if block.post_mlp_norm is None else rms_norm(h, block.post_mlp_norm, decoder.norm_eps))


def attention(decoder: Decoder, block: Block, q: Array, k: Array, v: Array) -> Array:
    """(sequences, heads, positions, head_dim) -> (sequences, positions, heads * head_dim); causal."""
    sequences, heads, positions, size = q.shape
    share = heads // decoder.kv_heads
    scores = _capped(
        q.reshape(sequences, -1, share, positions, size) @ np.swapaxes(k, 2, 3)[:, :, None] * decoder.attention_scale,
        decoder.attention_cap,
    )
    behind = np.arange(positions)[:, None] - np.arange(positions)[None]
    seen = (behind >= 0) & ((behind < block.window) if block.window else True)
    # in place, and divided at the end: this is most of what is not products of matrices
    scores += np.where(seen, np.float32(0), np.float32(-np.inf))
    scores -= scores.max(-1, keepdims=True)
    weight = np.exp(scores, out=scores)
    each = (weight @ v[:, :, None] / weight.sum(-1, keepdims=True)).reshape(q.shape)
    out: Array = each.swapaxes(1, 2).reshape(sequences, positions, heads * size)
    return out


def linear(layer: Linear, x: Array, dense_positions: int = 0) -> Array:
    """``x``: (sequences, positions, inputs) -> (sequences, positions, outputs), under the layer's rule."""
    weight = layer.weight.astype(np.float32)
    some = x if layer.rule is None else kept(x, layer.rule, dense_positions)
    y = _times(some, weight)
    if layer.rule is not None and layer.rule.rank:
        u, v = low_rank(layer.weight, layer.rule.rank)
        y = y + _times(_times(x - some, v), u)
    return y if layer.bias is None else y + layer.bias.astype(np.float32)


def low_rank(weight: Array, rank: int) -> tuple[Array, Array]:
    """``weight`` (outputs, inputs) is about ``u @ v``, (outputs, rank) and (rank, inputs)."""
    u, s, v = factors(weight)
    return u[:, :rank] * s[:rank], v[:rank]


_factors: dict[int, tuple[Array, Array, Array]] = {}


def factors(weight: Array) -> tuple[Array, Array, Array]:
    """``u, s, v`` with ``weight = (u * s) @ v``, float32; found once for as long as ``weight`` exists."""
    key = id(weight)
    if key not in _factors:
        u, s, v = np.linalg.svd(weight.astype(np.float32), full_matrices=False)
        _factors[key] = u, s, v
        weakref.finalize(weight, _factors.pop, key, None)
    return _factors[key]


def kept(x: Array, rule: InputRule | NeuronRule, dense_positions: int = 0) -> Array:
    """``x`` (sequences, positions, n), with zeros where the rule skips."""
    keep = keeps(x, rule)
    keep[:, :dense_positions] = True
    return np.where(keep, x, np.float32(0))


def keeps(x: Array, rule: InputRule | NeuronRule) -> Array:
    """``x`` (..., n) -> booleans: what counts, were no position dense."""
    size = np.abs(x)
    threshold: Array = rule.threshold.astype(np.float32)
    if rule.spread is not None:
        threshold = size.mean(-1, keepdims=True) + np.float32(rule.spread) * size.std(-1, keepdims=True)
    found: Array = size > threshold
    return found


def rms_norm(x: Array, gain: Array, eps: float) -> Array:
    y: Array = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(eps)) * gain.astype(np.float32)
    return y


def rotate(x: Array, turn: tuple[Array, Array], interleaved: bool) -> Array:
    """RoPE: ``x`` (sequences, heads, positions, head_dim); what is beyond the rotary part stays."""
    cos, sin = turn
    half = cos.shape[1]
    one, two = (x[..., 0 : 2 * half : 2], x[..., 1 : 2 * half : 2]) if interleaved else (
        x[..., :half], x[..., half : 2 * half])  # fmt: skip
    first, second = one * cos - two * sin, two * cos + one * sin
    if interleaved:
        turned = np.stack([first, second], -1).reshape(*first.shape[:-1], 2 * half)
    else:
        turned = np.concatenate([first, second], -1)
    return np.concatenate([turned, x[..., 2 * half :]], -1)


def _times(x: Array, weight: Array) -> Array:
    """``x @ weight.T`` as one product of matrices: for a stack of them NumPy calls the library once each."""
    y: Array = x.reshape(-1, x.shape[-1]) @ weight.T
    return y.reshape(*x.shape[:-1], -1)


def _heads(x: Array, size: int) -> Array:
    y: Array = x.reshape(*x.shape[:2], -1, size).swapaxes(1, 2)
    return y


def _capped(x: Array, cap: float) -> Array:
    return np.float32(cap) * np.tanh(x / np.float32(cap)) if cap else x


def _silu(x: Array) -> Array:
    y: Array = x / (1 + np.exp(-np.clip(x, -80, 80)))
    return y


def _gelu_tanh(x: Array) -> Array:
    y: Array = 0.5 * x * (1 + np.tanh(np.float32(sqrt(2 / pi)) * (x + np.float32(0.044715) * x**3)))
    return y


_erf = np.vectorize(erf, otypes=[np.float32])

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": _silu,
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / sqrt(2))).astype(np.float32),
    "gelu_tanh": _gelu_tanh,
    "relu": lambda x: np.maximum(x, 0),
}
