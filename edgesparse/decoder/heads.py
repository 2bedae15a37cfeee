"""How the heads of attention lie, and what has to be the same in all blocks of a decoder."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from edgesparse.decoder.layers import Layer, stop
from edgesparse.decoder.model import Activation
from edgesparse.passes.match import attribute_float, attribute_int, operand
from edgesparse.types import Array


@dataclass(frozen=True, slots=True)
class Heads:
    """A linear layer as attention reads it: divided into heads, with a norm for each and turned where there are."""

    layer: Layer
    gain: Array | None
    rotary: ir.Node | None


@dataclass(frozen=True, slots=True)
class Found:
    """What one block says of the whole network."""

    attention: ir.Node
    rotary: tuple[ir.Node, ir.Node]  # of queries and of keys
    activation: Activation
    heads: int
    kv_heads: int
    head_dim: int


def heads_of(node: ir.Node, q: Heads, k: Heads, activation: Activation) -> Found:
    """Sizes, from the cache of the Attention ``node``."""
    pairs = [(operand(node, 4 + i), node.outputs[1 + i] if len(node.outputs) == 3 else None) for i in (0, 1)]
    for past, present in pairs:
        if past is None or not past.is_graph_input() or present is None or not present.is_graph_output():
            stop(node, "its keys and values do not come from an input and go to an output")
        if past.shape is None or len(past.shape) != 4 or not all(isinstance(past.shape[i], int) for i in (1, 3)):
            stop(node, f"the cache '{past.name}' must be (1, kv_heads, past, head_dim), with numbers for the two")
    past = pairs[0][0]
    assert past is not None and past.shape is not None
    kv_heads, size = (int(past.shape[i]) for i in (1, 3))  # type: ignore[arg-type]
    wide, narrow = q.layer.linear.outputs, k.layer.linear.outputs
    if narrow != kv_heads * size or wide % narrow:
        stop(node, f"{wide} values of queries and {narrow} of keys in heads of {size}, {kv_heads} with keys")
    assert q.rotary is not None and k.rotary is not None
    return Found(node, (q.rotary, k.rotary), activation, wide // size, kv_heads, size)


def check_same(first: Found, other: Found) -> None:
    """A decoder has one number of each for all its blocks."""
    for name in ("activation", "heads", "kv_heads", "head_dim"):
        if getattr(first, name) != getattr(other, name):
            stop(other.attention, f"{name} {getattr(other, name)}, where the first block has {getattr(first, name)}")
    for name, default in (("scale", other.head_dim**-0.5), ("softcap", 0.0)):
        if attribute_float(other.attention, name, default) != attribute_float(first.attention, name, default):
            stop(other.attention, f"another {name} than in the first block")
    for node in other.rotary:
        if attribute_int(node, "interleaved", 0) != attribute_int(first.rotary[0], "interleaved", 0):
            stop(node, "turns other pairs than the queries of the first block")
