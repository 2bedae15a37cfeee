"""Softmax and LogSoftmax: ``y = exp(x - max(x)) / sum(exp(x - max(x)))`` along one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from edgesparse.ops.operator import Contract, Lowering, Operator, register
from edgesparse.types import Array, Attr, Node, Shape, TensorSpec


def same_shape(node: Node) -> list[Shape]:
    assert node.inputs[0] is not None
    return [node.inputs[0].shape]


def extents(node: Node) -> tuple[int, int, int]:
    """(outer, n, inner) of the axis. Before opset 13 the axis and all after it are flattened."""
    shape = same_shape(node)[0]
    if node.version < 13:
        axis = node.attrs.get("axis", 1) % max(len(shape), 1)
        return prod(shape[:axis]), prod(shape[axis:]), 1
    axis = node.attrs.get("axis", -1) % max(len(shape), 1)
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def lower(node: Node, out: Lowering) -> None:
    outer, n, inner = extents(node)
    assert node.inputs[0] is not None
    out.call(
        node, "softmax", [node.inputs[0].name], [node.outputs[0].name],
        outer=outer, n=n, inner=inner, log=int(node.op_type == "LogSoftmax"),
    )  # fmt: skip


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    x = inputs[0].astype(np.float64).reshape(attrs["outer"], attrs["n"], attrs["inner"])  # type: ignore[arg-type]
    shifted = x - x.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True)
    y = shifted - np.log(total) if attrs["log"] else np.exp(shifted) / total
    return [y.reshape(outputs[0].shape).astype(np.float32)]


register(
    Contract("softmax", inputs=("x",), outputs=("y",), reference=reference, in_place=(0,)),
    Operator("Softmax", same_shape, lower, "f32 only"),
    Operator("LogSoftmax", same_shape, lower, "f32 only"),
)
