"""A Llama in plain torch, with a cache of keys and values, and a small one with random weights from a fixed seed.

    edgesparse export examples/llama.py:tiny -o lm.onnx

Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models"; grouped queries from Ainslie et al. 2023,
"GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Example = tuple[nn.Module, tuple[Tensor, ...], dict[str, Any]]
"""What `edgesparse export` takes: the module, example inputs, and names of the axes that vary, by argument."""
SEED = 0


@dataclass(frozen=True)
class Shape:
    """Sizes; and how it is written down, which exporters turn into quite different graphs."""

    dim: int = 64
    hidden: int = 176
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    vocabulary: int = 256
    context: int = 128
    tied: bool = True
    bias: bool = False  # of queries, keys and values
    activation: str = "silu"  # or gelu, gelu_tanh, relu
    gated: bool = True
    interleaved: bool = False  # RoPE turns neighbours, as in llama2.c, and not halves of a head
    tables: bool = True  # of cosines and sines; or they are computed of the positions
    fused: bool = False  # F.rms_norm and F.scaled_dot_product_attention, and not their formulas


class RMSNorm(nn.Module):
    def __init__(self, size: int, fused: bool, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(1 + 0.1 * torch.randn(size))
        self.fused, self.eps = fused, eps

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        wide = x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class Rotary(nn.Module):
    """Cosines and sines of ``position * theta ** (-2 i / size)``, (1, T, size / 2)."""

    frequencies: Tensor
    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape, theta: float = 10000.0) -> None:
        super().__init__()
        size = shape.dim // shape.heads
        frequencies = theta ** (-torch.arange(0, size, 2).float() / size)
        angles = torch.arange(shape.context).float()[:, None] * frequencies
        self.tables = shape.tables
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        if self.tables:
            return self.cos[positions], self.sin[positions]
        angles = positions[..., None].float() * self.frequencies
        return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """``x``: (1, heads, T, size)."""
    if interleaved:
        cos, sin = cos[:, None], sin[:, None]
        one, two = x[..., 0::2], x[..., 1::2]
        return torch.stack((one * cos - two * sin, two * cos + one * sin), -1).flatten(-2)
    cos, sin = torch.cat((cos, cos), -1)[:, None], torch.cat((sin, sin), -1)[:, None]
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), -1)
    return x * cos + turned * sin


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, self.size = shape, shape.dim // shape.heads
        self.q = nn.Linear(shape.dim, shape.dim, bias=shape.bias)
        self.k = nn.Linear(shape.dim, shape.kv_heads * self.size, bias=shape.bias)
        self.v = nn.Linear(shape.dim, shape.kv_heads * self.size, bias=shape.bias)
        self.o = nn.Linear(shape.dim, shape.dim, bias=False)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], seen: Tensor, past_k: Tensor, past_v: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, tokens, _ = x.shape
        q, k, v = (layer(x).view(batch, tokens, -1, self.size).transpose(1, 2) for layer in (self.q, self.k, self.v))
        q, k = rotate(q, *turn, self.shape.interleaved), rotate(k, *turn, self.shape.interleaved)
        k, v = torch.cat((past_k, k), 2), torch.cat((past_v, v), 2)
        share = self.shape.heads // self.shape.kv_heads
        keys, values = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        if self.shape.fused:
            y = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen)
        else:
            scores = q @ keys.transpose(2, 3) * self.size**-0.5
            y = scores.masked_fill(~seen, float("-inf")).softmax(-1) @ values
        return self.o(y.transpose(1, 2).reshape(batch, tokens, -1)), k, v


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu, "gelu": F.gelu, "gelu_tanh": partial(F.gelu, approximate="tanh"), "relu": F.relu,
}  # fmt: skip


class MLP(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.activation = shape.activation
        self.gate = nn.Linear(shape.dim, shape.hidden, bias=False) if shape.gated else None
        self.up = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        act, up = ACTIVATIONS[self.activation], self.up(x)
        y: Tensor = self.down(act(up) if self.gate is None else act(self.gate(x)) * up)
        return y


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = RMSNorm(shape.dim, shape.fused), RMSNorm(shape.dim, shape.fused)
        self.attention, self.mlp = Attention(shape), MLP(shape)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], seen: Tensor, past_k: Tensor, past_v: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, k, v = self.attention(self.attention_norm(x), turn, seen, past_k, past_v)
        x = x + y
        return x + self.mlp(self.mlp_norm(x)), k, v


class Llama(nn.Module):
    """(1, T) tokens, (1, T) positions, and for each layer keys and values of the past, (1, kv_heads, P, size) ->
    logits (1, T, vocabulary) and keys and values of P + T positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocabulary, shape.dim)
        nn.init.normal_(self.embedding.weight, std=0.05)  # with 1, every token would be followed by itself
        self.rotary = Rotary(shape)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.dim, shape.fused)
        self.head = nn.Linear(shape.dim, shape.vocabulary, bias=False)
        if shape.tied:
            self.head.weight = self.embedding.weight

    def forward(self, input_ids: Tensor, position_ids: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        turn = self.rotary(position_ids)
        keys = torch.arange(past[0].shape[2] + input_ids.shape[1])
        seen = (keys[None] <= position_ids[0][:, None])[None, None]
        x, present = self.embedding(input_ids), []
        for index, layer in enumerate(self.layers):
            x, k, v = layer(x, turn, seen, past[2 * index], past[2 * index + 1])
            present += [k, v]
        return self.head(self.norm(x)), *present


def llama(shape: Shape) -> Example:
    torch.manual_seed(SEED)
    tokens, past = 5, 3
    cache = [torch.zeros(1, shape.kv_heads, past, shape.dim // shape.heads) for _ in range(2 * shape.layers)]
    inputs = (torch.zeros(1, tokens, dtype=torch.int64), torch.arange(past, past + tokens)[None], *cache)
    varying: dict[str, Any] = {
        "input_ids": {1: "tokens"}, "position_ids": {1: "tokens"}, "past": tuple({2: "past"} for _ in cache),
    }  # fmt: skip
    return Llama(shape).eval(), inputs, varying


def tiny() -> Example:
    return llama(Shape())
