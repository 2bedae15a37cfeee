"""Gather: elements along one axis by index. A constant index that walks evenly is a strided copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from edgesparse.ops.arguments import axis, contiguous, first, where
from edgesparse.ops.copy import move
from edgesparse.ops.operator import Constants, Contract, Lowering, Operator, Tensors, Unsupported, register
from edgesparse.types import DTYPES, Array, Attr, Binding, Machine, Node, OpCall, Shape, TensorSpec


def shape(node: Node) -> list[Shape]:
    x, index = node.inputs[0], node.inputs[1]
    assert x is not None and index is not None
    at = axis(node, 0)
    return [(*x.shape[:at], *index.shape, *x.shape[at + 1 :])]


def lower(node: Node, out: Lowering) -> None:
    x, index, at = first(node), node.inputs[1], axis(node, 0)
    assert index is not None
    known = node.constant(1)
    size = x.shape[at]
    if known is None:
        if size == 0:
            raise Unsupported("a Gather from nothing", where=where(node), hint="give every input at least one element")
        if index.dtype not in ("i64", "i32"):
            raise Unsupported(f"a Gather by {index.dtype}", where=where(node), hint="use int64 indices")
        take(node, out, x.name, index.name, node.outputs[0].name, x.shape, at, index.size, DTYPES[index.dtype].itemsize)
        return
    flat = known.reshape(-1).astype(np.int64)
    if flat.size and (flat.min() < -size or flat.max() >= size):
        raise Unsupported(
            f"an index outside of the axis, which has {size} elements", where=where(node), hint="correct the indices"
        )
    gather_constant(node, out, x.name, np.where(flat < 0, flat + size, flat), node.outputs[0].name, x.shape, at)


def gather_constant(node: Node, out: Lowering, source: str, index: Array, target: str, shape: Shape, at: int) -> None:
    """Emit ``target[.., i, ..] = source[.., index[i], ..]`` over axis ``at`` of ``shape``; ``index`` is in range."""
    step = np.diff(index)
    if index.size == 0:
        return
    if index.size == 1 or (step == step[0]).all():
        x_stride, y_shape = contiguous(shape), (*shape[:at], index.size, *shape[at + 1 :])
        offset = int(index[0]) * x_stride[at]
        x_stride[at] *= int(step[0]) if index.size > 1 else 0
        move(node, out, source, target, y_shape, x_stride, contiguous(y_shape), offset)
        return
    name = out.constant(node, index.astype(np.int32))
    take(node, out, source, name, target, shape, at, index.size, 4)


def take(
    node: Node, out: Lowering, source: str, index: str, target: str, shape: Shape, at: int, count: int, bytes_: int
) -> None:
    """Emit a gather by the i32 or i64 tensor ``index``."""
    out.call(
        node, "gather", [source, index], [target], outer=prod(shape[:at]), size=shape[at], count=count,
        inner=prod(shape[at + 1 :]), index_bytes=bytes_,
    )  # fmt: skip


def bind(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    size = DTYPES[tensors[call.inputs[0]].dtype].itemsize
    named = {"x": call.inputs[0], "index": call.inputs[1], "y": call.outputs[0]}
    return [Binding(f"gather_b{size}", {**named, **call.attrs})]


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    a: dict[str, Any] = dict(attrs)
    index = inputs[1].reshape(-1).astype(np.int64)
    index = np.clip(np.where(index < 0, index + a["size"], index), 0, a["size"] - 1)
    x = inputs[0].reshape(a["outer"], a["size"], a["inner"])
    return [x[:, index].reshape(outputs[0].shape)]


register(
    Contract("gather", ("x", "index"), ("y",), reference, bind=bind, items=lambda a: a["outer"] * a["count"]),
    Operator(
        "Gather", shape, lower, "an index computed at run time is clamped into the axis", kernels=("copy", "gather")
    ),
)
