"""Comparisons with broadcasting, and the logic of truth values: Equal, Less, ..., And, Or, Xor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesparse.ops.binary import collapse, shape
from edgesparse.ops.copy import positions, where
from edgesparse.ops.operator import Contract, Lowering, Operator, Unsupported, register
from edgesparse.types import Array, Attr, Node, Shape, TensorSpec

# kind of the contract, and whether the operands change sides
COMPARE = {
    "Equal": (0, False), "Less": (1, False), "LessOrEqual": (2, False), "Greater": (1, True),
    "GreaterOrEqual": (2, True), "And": (3, False), "Or": (4, False), "Xor": (5, False),
}  # fmt: skip
_FUNCTIONS = (np.equal, np.less, np.less_equal, np.logical_and, np.logical_or, np.logical_xor)
LOOPS = 4


def loops(node: Node, out: Shape, *operands: Shape) -> tuple[Shape, list[Shape]]:
    """(dims, strides of every operand), four each: the loops of an element-wise kernel over ``out``.

    Raises:
        Unsupported: the broadcasting needs more loops.
    """
    dims, strides = collapse(out, *operands)
    if len(dims) > LOOPS:
        raise Unsupported(
            f"broadcasting that needs {len(dims)} loops; {LOOPS} are supported", where=where(node),
            hint="Expand one operand first",
        )  # fmt: skip
    pad = LOOPS - len(dims)
    return (*[1] * pad, *dims), [(*[0] * pad, *s) for s in strides]


def operand(x: Array, dims: Sequence[int], stride: Sequence[int]) -> Array:
    """What an element-wise kernel reads of ``x``, in the order of its output, flat."""
    return np.asarray(x.reshape(-1)[positions(dims, stride, 0)])


def lower(node: Node, out: Lowering) -> None:
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None and b is not None
    kind, swapped = COMPARE[node.op_type]
    if swapped:
        a, b = b, a
    dims, (a_stride, b_stride) = loops(node, node.outputs[0].shape, a.shape, b.shape)
    out.call(
        node, "compare", [a.name, b.name], [node.outputs[0].name], kind=kind, dims=dims, a_stride=a_stride,
        b_stride=b_stride,
    )  # fmt: skip


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    p: dict[str, Any] = dict(attrs)
    a, b = operand(inputs[0], p["dims"], p["a_stride"]), operand(inputs[1], p["dims"], p["b_stride"])
    return [_FUNCTIONS[p["kind"]](a, b).reshape(outputs[0].shape)]


register(
    Contract("compare", ("a", "b"), ("y",), reference),
    *(
        Operator(name, shape, lower, "bool" if kind > 2 else "f32, i64, i32" + ", bool" * (name == "Equal"))
        for name, (kind, _) in COMPARE.items()
    ),
)
