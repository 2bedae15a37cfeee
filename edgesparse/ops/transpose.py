"""Transpose: any permutation, merged to the fewest dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesparse.ops.operator import Contract, Lowering, Operator, Unsupported, register
from edgesparse.types import DTYPES, Array, Attr, Binding, Node, OpCall, Shape, TensorSpec

_RANK = 5


def permutation(node: Node) -> list[int]:
    assert node.inputs[0] is not None
    rank = len(node.inputs[0].shape)
    return [int(p) for p in node.attrs.get("perm", range(rank)[::-1])]


def shape(node: Node) -> list[Shape]:
    x = node.inputs[0]
    assert x is not None
    return [tuple(x.shape[p] for p in permutation(node))]


def lower(node: Node, out: Lowering) -> None:
    x = node.inputs[0]
    assert x is not None
    stride = [int(np.prod(x.shape[i + 1 :])) for i in range(len(x.shape))]
    dims: list[int] = []
    steps: list[int] = []
    for p in permutation(node):
        if x.shape[p] == 1:
            continue
        if dims and steps[-1] == stride[p] * x.shape[p]:
            dims[-1] *= x.shape[p]
            steps[-1] = stride[p]
            continue
        dims.append(x.shape[p])
        steps.append(stride[p])
    if len(dims) <= 1 and (not steps or steps[0] == 1):
        out.view(node, x.name, node.outputs[0].name)
        return
    if len(dims) > _RANK:
        raise Unsupported(
            f"a permutation of {len(dims)} separate dimensions; {_RANK} are supported",
            where=f"Transpose '{node.name}'", hint="split it into two transposes",
        )  # fmt: skip
    pad = _RANK - len(dims)
    out.call(
        node, "transpose", [x.name], [node.outputs[0].name],
        dims=(*[1] * pad, *dims), stride=(*[0] * pad, *steps),
    )  # fmt: skip


def bind(call: OpCall, tensors: Mapping[str, TensorSpec], constants: Mapping[str, Array], isa: str) -> list[Binding]:
    size = DTYPES[tensors[call.inputs[0]].dtype].itemsize
    return [Binding(f"transpose_b{size}", {"x": call.inputs[0], "y": call.outputs[0], **call.attrs})]


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    a: dict[str, Any] = dict(attrs)
    index = np.zeros((1,) * _RANK, np.int64)
    for axis, (size, step) in enumerate(zip(a["dims"], a["stride"], strict=True)):
        index = index + (np.arange(size) * step).reshape([-1 if i == axis else 1 for i in range(_RANK)])
    return [inputs[0].reshape(-1)[index].reshape(outputs[0].shape)]


register(
    Contract("transpose", ("x",), ("y",), reference, bind=bind),
    Operator("Transpose", shape, lower, "up to five dimensions that do not merge"),
)
