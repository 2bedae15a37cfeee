"""What a value of a decoder's graph is: a linear layer, an activation, a part of another; and where reading stops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn, cast

import numpy as np
import onnx_ir as ir

from edgesparse.decoder.model import Activation, Linear
from edgesparse.errors import EdgeSparseError, UnsupportedError
from edgesparse.passes.activations import recognise
from edgesparse.passes.match import (
    attribute_float,
    attribute_int,
    attribute_string,
    constant,
    is_op,
    label,
    operand,
    refusal,
    scalar,
)
from edgesparse.types import Array

HINT = "what can be read is in README.md, under language models"


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer in the graph, what it reads, and the layer."""

    node: ir.Node
    x: ir.Value
    linear: Linear


def linear_layer(value: ir.Value) -> Layer | None:
    """``value`` as a linear layer: MatMul or Gemm by a constant, and what is added to it."""
    node, bias = value.producer(), None
    if is_op(node, "Add"):
        assert node is not None
        for a, b in (node.inputs, node.inputs[::-1]):
            found = weight(b)
            if a is not None and found is not None and found.size == found.shape[-1]:
                value, bias = a, found.reshape(-1)
                node = value.producer()
                break
    if node is None or not is_op(node, "MatMul", "Gemm"):
        return None
    matrix, x = weight(node.inputs[1]), node.inputs[0]
    if matrix is None or matrix.ndim != 2 or x is None:
        return None
    if node.op_type == "Gemm":
        if attribute_int(node, "transA", 0) or {attribute_float(node, n, 1.0) for n in ("alpha", "beta")} != {1.0}:
            return None
        matrix = matrix.T if attribute_int(node, "transB", 0) else matrix
        if operand(node, 2) is not None:
            bias = weight(operand(node, 2))
            if bias is None or bias.ndim != 1:
                return None
    if bias is not None and bias.size != matrix.shape[1]:
        return None
    return Layer(node, x, Linear(matrix.T, None if bias is None else bias.astype(np.float32)))


def layer_of(value: ir.Value, what: str) -> Layer:
    """As `linear_layer`; what is none stops the reading."""
    found = linear_layer(value)
    return stop(value, f"not the linear layer of {what}") if found is None else found


def activated(value: ir.Value) -> tuple[Activation, ir.Value] | None:
    """``value`` as (activation, its argument); also where it is written out."""
    node = value.producer()
    if node is None:
        return None
    if is_op(node, "Mul"):  # without types, which our own models do not have between nodes
        for x, other in (node.inputs, node.inputs[::-1]):
            inner = None if other is None else other.producer()
            if x is not None and inner is not None and is_op(inner, "Sigmoid") and inner.inputs[0] is x:
                return "silu", x
    if is_op(node, "Relu"):
        return "relu", first_input(node)
    if is_op(node, "Gelu"):
        return "gelu_tanh" if attribute_string(node, "approximate", "none") == "tanh" else "gelu", first_input(node)
    found = recognise(node)
    if found is None or found.act not in ("silu", "gelu", "gelu_tanh", "relu"):
        return None
    return cast(Activation, found.act), found.x


def neurons(value: ir.Value) -> tuple[Layer | None, Layer, Activation, ir.Value, int]:
    """(gate, up, activation, what both read, width of the predictor) of what ``down`` reads."""
    node = value.producer()
    if node is None or not is_op(node, "Mul"):
        found = activated(value)
        if found is None:
            stop(value, "neither an activation nor a product with one, before a linear layer")
        up = layer_of(found[1], "up")
        h, start = part_of(up.x)
        return None, up, found[0], h, start
    if (alone := activated(value)) is not None and linear_layer(alone[1]) is not None:  # x * sigmoid(x)
        up = layer_of(alone[1], "up")
        return None, up, alone[0], up.x, 0
    left, right = node.inputs
    assert left is not None and right is not None
    for gated, other in ((left, right), (right, left)):
        found = activated(gated)
        if found is None or linear_layer(other) is None:
            continue
        gate, up = layer_of(found[1], "gate"), layer_of(other, "up")
        first, second = part_of(gate.x), part_of(up.x)
        if first[0] is not second[0] or first[1] or (second[1] and gate.linear.inputs != second[1]):
            stop(node, "gate and up do not read the same")
        return gate, up, found[0], first[0], second[1]
    return stop(node, "no product of an activated linear layer and another one")


def embedding(value: ir.Value) -> tuple[ir.Value, Array, float] | None:
    """(tokens, table, scale) where ``value`` is the embedding of an input."""
    scale, node = 1.0, value.producer()
    if node is not None and is_op(node, "Mul"):
        for inner, other in (node.inputs, node.inputs[::-1]):
            number = scalar(plain(other))
            if inner is not None and number is not None:
                value, scale = inner, number
    node = through(value, "Cast").producer()
    if node is None or not is_op(node, "Gather") or attribute_int(node, "axis", 0):
        return None
    tokens, table = operand(node, 1), weight(operand(node, 0))
    if tokens is None or not tokens.is_graph_input() or table is None or table.ndim != 2:
        return None
    return tokens, table, scale


def normed(value: ir.Value) -> ir.Value:
    """What the norm reads that makes ``value``; or ``value``."""
    node = value.producer()
    return first_input(node) if node is not None and is_op(node, "RMSNormalization") else value


def uncapped(value: ir.Value) -> tuple[ir.Value, float]:
    """(x, cap) of ``cap * tanh(x / cap)``; (value, 0) of anything else."""
    node = value.producer()
    if node is None or not is_op(node, "Mul"):
        return value, 0.0
    for inner, other in (node.inputs, node.inputs[::-1]):
        cap, tanh = scalar(plain(other)), None if inner is None else inner.producer()
        if cap is None or tanh is None or not is_op(tanh, "Tanh"):
            continue
        scaled = first_input(tanh).producer()
        by = scalar(plain(scaled.inputs[1])) if scaled is not None and is_op(scaled, "Div", "Mul") else None
        if scaled is not None and by and np.isclose(by if scaled.op_type == "Div" else 1 / by, cap, rtol=1e-6):
            return first_input(scaled), cap
    return value, 0.0


def part_of(value: ir.Value) -> tuple[ir.Value, int]:
    """(x, start) where ``value`` is the end of x from ``start`` on; (x, 0) where it is a beginning of x or x."""
    node = value.producer()
    if node is None or not is_op(node, "Slice"):
        return value, 0
    bounds = [constant(operand(node, i)) for i in (1, 2, 3)]
    if any(b is None or b.size != 1 for b in bounds) or int(bounds[2].reshape(())) not in (-1, 2):  # type: ignore[union-attr]
        stop(node, "not a part of the last axis")
    return first_input(node), int(bounds[0].reshape(()))  # type: ignore[union-attr]


def weight(value: ir.Value | None) -> Array | None:
    """A constant, possibly behind Cast and Transpose: a view, in the type that is stored."""
    node = None if value is None else value.producer()
    if node is None or is_op(node, "Constant"):
        return constant(value)
    inner = weight(node.inputs[0]) if is_op(node, "Cast", "Transpose", "Identity") else None
    if inner is None or not is_op(node, "Transpose"):
        return inner
    turned: Array = inner.transpose(permutation(node) or None)
    return turned


def plain(value: ir.Value | None) -> ir.Value | None:
    """What is behind the Casts."""
    return None if value is None else through(value, "Cast")


def through(value: ir.Value, op: str) -> ir.Value:
    while (node := value.producer()) is not None and is_op(node, op):
        value = first_input(node)
    return value


def first_input(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None
    return value


def permutation(node: ir.Node) -> list[int]:
    found = node.attributes.get("perm")
    return [] if found is None else [int(i) for i in found.as_ints()]


def unsupported(what: str, where: str) -> UnsupportedError:
    return UnsupportedError([EdgeSparseError(what, where=where, hint=HINT)], where="not a decoder that can be read")


def stop(at: ir.Value | ir.Node, why: str) -> NoReturn:
    node = at.producer() if isinstance(at, ir.Value) else at
    reason = None if node is None else refusal(node)
    why = f"{why}; {reason}" if reason else why
    raise unsupported(why, f"'{at.name}'" if node is None else label(node))
