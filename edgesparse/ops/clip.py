"""Relu, Clip and Swish: an activation of floats where the parameters allow it, else a few simple calls."""

from __future__ import annotations

import numpy as np

from edgesparse.ops.activation import call
from edgesparse.ops.arguments import first, misfit, same_shape
from edgesparse.ops.binary import BINARY, broadcast
from edgesparse.ops.operator import Lowering, Operator, register
from edgesparse.types import DTYPES, Node, TensorSpec


def _bounds(node: Node, out: Lowering) -> list[tuple[str, TensorSpec]]:
    """(Max, lower bound) and (Min, upper bound), those that are given: attributes before opset 11, inputs since."""
    x, found = first(node), []
    for index, (kind, attribute) in enumerate((("Max", "min"), ("Min", "max")), 1):
        bound = node.input(index)
        if bound is None and attribute in node.attrs:
            bound = out.tensors[out.constant(node, np.array(node.attrs[attribute], DTYPES[x.dtype]))]
        if bound is not None and bound.size != 1:
            raise misfit(node, f"a bound of shape {list(bound.shape)}")
        if bound is not None:
            found.append((kind, TensorSpec(bound.name, (), bound.dtype)))
    return found


def lower_clip(node: Node, out: Lowering) -> None:
    """``min(max(x, low), high)``."""
    x, target = first(node), node.outputs[0].name
    bounds = _bounds(node, out)
    known = {kind: out.constants.get(bound.name) for kind, bound in bounds}
    if x.dtype == "f32" and all(value is not None for value in known.values()):
        low, high = (
            none if known.get(kind) is None else float(np.reshape(known[kind], ()))  # type: ignore[arg-type]
            for kind, none in (("Max", -np.inf), ("Min", np.inf))
        )
        call(node, out, "clip", x.name, target, low, high)
        return
    if not bounds:
        out.view(node, x.name, target)
    for kind, bound in bounds:
        last = bound is bounds[-1][1]
        name = target if last else out.temporary(node, x.shape, x.dtype)
        broadcast(node, out, BINARY[kind], x, bound, name, x.shape)
        x = TensorSpec(name, x.shape, x.dtype)


def lower_relu(node: Node, out: Lowering) -> None:
    x, target = first(node), node.outputs[0].name
    if x.dtype == "f32":
        call(node, out, "relu", x.name, target)
        return
    zero = out.constant(node, np.zeros((), DTYPES[x.dtype]))
    broadcast(node, out, BINARY["Max"], x, out.tensors[zero], target, x.shape)


def lower_swish(node: Node, out: Lowering) -> None:
    """``x sigmoid(alpha x)``. With alpha 1 it is SiLU."""
    x, target, alpha = first(node), node.outputs[0].name, float(node.attrs.get("alpha", 1.0))
    if alpha == 1:
        call(node, out, "silu", x.name, target)
        return
    scaled, gate = (TensorSpec(out.temporary(node, x.shape), x.shape, x.dtype) for _ in range(2))
    factor = out.tensors[out.constant(node, np.array(alpha, np.float32))]
    broadcast(node, out, BINARY["Mul"], x, factor, scaled.name, x.shape)
    call(node, out, "sigmoid", scaled.name, gate.name)
    broadcast(node, out, BINARY["Mul"], x, gate, target, x.shape)


register(
    Operator("Relu", same_shape, lower_relu, "f32, i64, i32", kernels=("activation", "binary")),
    Operator("Clip", same_shape, lower_clip, "f32, i64, i32", kernels=("activation", "binary")),
    Operator("Swish", same_shape, lower_swish, "f32 only", kernels=("activation", "binary")),
)
