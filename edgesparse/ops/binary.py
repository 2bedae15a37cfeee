"""Element-wise operators of two tensors with broadcasting: Add, Sub, Mul, Div, Pow, Min, Max."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesparse.ops.operator import Contract, Lowering, Operator, Unsupported, register
from edgesparse.types import DTYPES, Array, Attr, Node, Shape, TensorSpec

# The numbers of kernels_common/binary.h.
BINARY = {"Add": 0, "Sub": 1, "Mul": 2, "Div": 3, "Min": 4, "Max": 5, "Pow": 6}
_RANK = 4


def shape(node: Node) -> list[Shape]:
    return [tuple(np.broadcast_shapes(*(i.shape for i in node.inputs if i is not None)))]


def collapse(out: Shape, *operands: Shape) -> tuple[list[int], list[list[int]]]:
    """Fewest dimensions of ``out`` with the element strides of every operand (0 where broadcast).

    Neighbouring dimensions merge when every operand walks through both without a jump.
    """
    strides = []
    for operand in operands:
        padded = (1,) * (len(out) - len(operand)) + tuple(operand)
        step, own = 1, [0] * len(out)
        for i in reversed(range(len(out))):
            own[i] = step if padded[i] != 1 else 0
            step *= padded[i]
        strides.append(own)
    dims: list[int] = []
    kept: list[list[int]] = [[] for _ in operands]
    for i, size in enumerate(out):
        if size == 1:
            continue
        if dims and all(k[-1] == s[i] * size for k, s in zip(kept, strides, strict=True)):
            dims[-1] *= size
            for k, s in zip(kept, strides, strict=True):
                k[-1] = s[i]
            continue
        dims.append(size)
        for k, s in zip(kept, strides, strict=True):
            k.append(s[i])
    return dims, kept


def broadcast(
    node: Node, out: Lowering, kind: int, left: TensorSpec, right: TensorSpec, target: str, shape: Shape
) -> None:
    """Emit ``target = kind(left, right)`` of ``shape``.

    Raises:
        Unsupported: the broadcasting needs more loops than the kernel has.
    """
    dims, (a, b) = collapse(shape, left.shape, right.shape)
    if len(dims) > _RANK:
        raise Unsupported(
            f"broadcasting that needs {len(dims)} loops; {_RANK} are supported",
            where=f"{node.op_type} '{node.name}'", hint="Expand one operand first",
        )  # fmt: skip
    pad = _RANK - len(dims)
    out.call(
        node, "binary", [left.name, right.name], [target], kind=kind,
        dims=(*[1] * pad, *dims), a_stride=(*[0] * pad, *a), b_stride=(*[0] * pad, *b),
    )  # fmt: skip


def _of_one_type(node: Node, out: Lowering, left: TensorSpec, right: TensorSpec) -> TensorSpec:
    """``right`` in the type of ``left``: only Pow takes two types, and a constant exponent is converted here."""
    if left.dtype == right.dtype:
        return right
    value = node.constants.get(right.name)
    if value is None or left.dtype != "f32":
        raise Unsupported(
            f"operands of two types, {left.dtype} and {right.dtype}", where=f"{node.op_type} '{node.name}'",
            hint="put a Cast before one of them",
        )  # fmt: skip
    return out.tensors[out.constant(node, value.astype(DTYPES[left.dtype]))]


def lower(node: Node, out: Lowering) -> None:
    specs = [i for i in node.inputs if i is not None]
    target = node.outputs[0].name
    if len(specs) == 1:  # Min and Max of one tensor
        out.view(node, specs[0].name, target)
        return
    left = specs[0]
    specs = [left, *(_of_one_type(node, out, left, s) for s in specs[1:])]
    for index, right in enumerate(specs[1:]):
        shape = tuple(np.broadcast_shapes(left.shape, right.shape))
        result = target if index == len(specs) - 2 else out.temporary(node, shape, left.dtype)
        broadcast(node, out, BINARY[node.op_type], left, right, result, shape)
        left = TensorSpec(result, shape, left.dtype)


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    a: dict[str, Any] = dict(attrs)
    sides = []
    for x, key in zip(inputs, ("a_stride", "b_stride"), strict=True):
        index = np.zeros((1,) * _RANK, np.int64)
        for axis, (size, step) in enumerate(zip(a["dims"], a[key], strict=True)):
            index = index + (np.arange(size) * step).reshape([-1 if i == axis else 1 for i in range(_RANK)])
        sides.append(x.reshape(-1)[index])
    x, y = sides
    with np.errstate(all="ignore"):
        kind = {v: k for k, v in BINARY.items()}[a["kind"]]
        if kind == "Div" and x.dtype.kind in "iu":
            z = np.where(y == 0, 0, np.sign(x) * np.sign(y) * (np.abs(x) // np.maximum(np.abs(y), 1)))
        else:
            z = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Min": np.minimum,
                 "Max": np.maximum, "Pow": np.power}[kind](x, y)  # fmt: skip
    return [z.reshape(outputs[0].shape).astype(inputs[0].dtype)]


register(
    Contract("binary", ("a", "b"), ("y",), reference, in_place=(0, 1)),
    *(Operator(name, shape, lower, "f32, i64, i32; both operands of one type") for name in BINARY),
)
