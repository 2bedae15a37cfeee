"""Comparisons with broadcasting, and the logic of truth values: Equal, Less, ..., And, Or, Xor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesparse.ops.binary import loops, operand, shape
from edgesparse.ops.operator import Contract, Lowering, Operator, register
from edgesparse.types import Array, Attr, Node, TensorSpec

# kind of the contract, and whether the operands change sides
COMPARE = {
    "Equal": (0, False), "Less": (1, False), "LessOrEqual": (2, False), "Greater": (1, True),
    "GreaterOrEqual": (2, True), "And": (3, False), "Or": (4, False), "Xor": (5, False),
}  # fmt: skip
_FUNCTIONS = (np.equal, np.less, np.less_equal, np.logical_and, np.logical_or, np.logical_xor)


def lower(node: Node, out: Lowering) -> None:
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None and b is not None
    kind, swapped = COMPARE[node.op_type]
    if swapped:
        a, b = b, a
    dims, (a_stride, b_stride), names = loops(node, out, node.outputs[0].shape, a, b)
    out.call(
        node, "compare", names, [node.outputs[0].name], kind=kind, dims=dims, a_stride=a_stride,
        b_stride=b_stride,
    )  # fmt: skip


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    p: dict[str, Any] = dict(attrs)
    a, b = operand(inputs[0], p["dims"], p["a_stride"]), operand(inputs[1], p["dims"], p["b_stride"])
    return [_FUNCTIONS[p["kind"]](a, b).reshape(outputs[0].shape)]


register(
    Contract("compare", ("a", "b"), ("y",), reference),
    *(
        Operator(
            name,
            shape,
            lower,
            "bool" if kind > 2 else "f32, i64, i32" + ", bool" * (name == "Equal"),
            kernels=("compare", "copy"),
        )
        for name, (kind, _) in COMPARE.items()
    ),
)
