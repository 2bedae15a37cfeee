"""Softmax and LogSoftmax: ``y = exp(x - max(x)) / sum(exp(x - max(x)))`` along one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from edgesparse.ops.arguments import axis, first, same_shape
from edgesparse.ops.operator import Contract, Lowering, Operator, register, strips
from edgesparse.types import Array, Attr, Node, TensorSpec


def extents(node: Node) -> tuple[int, int, int]:
    """(outer, n, inner) of the axis. Before opset 13 the axis and all after it are flattened."""
    shape = first(node).shape
    if not shape:
        return 1, 1, 1
    if node.version < 13:
        at = axis(node, 1) if node.attrs.get("axis", 1) != len(shape) else len(shape)
        return prod(shape[:at]), prod(shape[at:]), 1
    at = axis(node)
    return prod(shape[:at]), shape[at], prod(shape[at + 1 :])


def lower(node: Node, out: Lowering) -> None:
    outer, n, inner = extents(node)
    out.call(
        node, "softmax", [first(node).name], [node.outputs[0].name],
        outer=outer, n=n, inner=inner, log=int(node.op_type == "LogSoftmax"),
    )  # fmt: skip


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    x = inputs[0].astype(np.float64).reshape(attrs["outer"], attrs["n"], attrs["inner"])  # type: ignore[arg-type]
    shifted = x - x.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True)
    y = shifted - np.log(total) if attrs["log"] else np.exp(shifted) / total
    return [y.reshape(outputs[0].shape).astype(np.float32)]


register(
    Contract("softmax", inputs=("x",), outputs=("y",), reference=reference, in_place=(0,), items=strips),
    Operator("Softmax", same_shape, lower, "f32 only", kernels=("softmax",)),
    Operator("LogSoftmax", same_shape, lower, "f32 only", kernels=("softmax",)),
)
