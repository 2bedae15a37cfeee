"""Small decoders with random weights, of every kind that there is, and rules for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgesparse.decoder.files import save_decoder
from edgesparse.decoder.model import SITES, Block, Decoder, InputRule, Linear, NeuronRule
from edgesparse.decoder.recognise import recognise
from edgesparse.decoder.to_onnx import to_onnx
from edgesparse.decoder.tokenizer import Tokenizer, set_tokenizer, tokenizer_of
from edgesparse.importer import load
from edgesparse.types import Array


def decoder(
    dim: int = 48, hidden: int = 80, blocks: int = 2, heads: int = 4, kv_heads: int = 2, head_dim: int = 16,
    vocabulary: int = 70, rotary: int = 16, *, gate: bool = True, bias: bool = False, tied: bool = True,
    qk_norm: bool = False, post_norm: bool = False, windows: tuple[int, ...] = (0,), predictor: int = 0, seed: int = 0,
    **more: Any,
) -> Decoder:  # fmt: skip
    """Weights such that activations stay about 1; ``windows`` in turns."""
    rng, inner, kv = np.random.default_rng(seed), heads * head_dim, kv_heads * head_dim

    def gain(size: int) -> Array:
        return (1 + 0.2 * rng.standard_normal(size)).astype(np.float32)

    def linear(outputs: int, inputs: int) -> Linear:
        weight = (rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
        return Linear(weight, rng.standard_normal(outputs).astype(np.float32) if bias else None)

    def block(index: int) -> Block:
        return Block(
            gain(dim), linear(inner, dim), linear(kv, dim), linear(kv, dim), linear(dim, inner), gain(dim),
            linear(hidden, predictor or dim) if gate else None, linear(hidden, dim - predictor), linear(dim, hidden),
            gain(head_dim) if qk_norm else None, gain(head_dim) if qk_norm else None,
            gain(dim) if post_norm else None, gain(dim) if post_norm else None,
            windows[index % len(windows)], None, predictor,
        )  # fmt: skip

    settings: dict[str, Any] = {
        "context": 32, "frequencies": 10000.0 ** (-np.arange(rotary // 2) / (rotary // 2)), "interleaved": False,
        "norm_eps": 1e-5, "activation": "silu", "attention_scale": head_dim**-0.5, "dense_positions": 2,
    }  # fmt: skip
    embedding = rng.standard_normal((vocabulary, dim)).astype(np.float32)
    head = None if tied else rng.standard_normal((vocabulary, dim)).astype(np.float32)
    return Decoder(
        "made", embedding, tuple(map(block, range(blocks))), gain(dim), head, heads, kv_heads, head_dim,
        **{**settings, **more},
    )  # fmt: skip


def with_rules(
    decoder: Decoder, rule: Callable[[str, int], InputRule | None], neurons: NeuronRule | None = None
) -> Decoder:
    """``rule(site, inputs)`` for every linear layer; with ``neurons`` not for up and down."""

    def ruled(block: Block) -> Block:
        skipped = ("up", "down") if neurons else ()
        layers = {
            site: replace(layer, rule=rule(site, layer.inputs))
            for site in SITES
            if (layer := getattr(block, site)) is not None and site not in skipped
        }
        return replace(block, **layers, neurons=neurons)

    return replace(decoder, blocks=tuple(map(ruled, decoder.blocks)))


def written(folder: Path, decoder: Decoder) -> Path:
    """lm.onnx in ``folder``; tokens are bytes where there are 256."""
    model = to_onnx(decoder)
    if decoder.vocabulary == 256:
        set_tokenizer(model, Tokenizer.from_bytes("", b"", 256))
    save_decoder(model, folder / "lm.onnx")
    return folder / "lm.onnx"


def load_decoder(path: Path) -> tuple[Decoder, Tokenizer | None]:
    """The decoder in an ONNX file, as commands read it, and its tokenizer."""
    model = load(path)
    decoder = recognise(model)
    return decoder, tokenizer_of(model, decoder.vocabulary)


def tokens(decoder: Decoder, count: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).integers(0, decoder.vocabulary, count)
