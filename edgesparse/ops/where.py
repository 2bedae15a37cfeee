"""Where: ``y = condition ? X : Y`` with broadcasting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesparse.ops.binary import loops, operand, shape
from edgesparse.ops.operator import Constants, Contract, Lowering, Operator, Tensors, register, spans_of_runs
from edgesparse.types import DTYPES, Array, Attr, Binding, Machine, Node, OpCall, TensorSpec


def lower(node: Node, out: Lowering) -> None:
    c, a, b = node.inputs[:3]
    assert c is not None and a is not None and b is not None
    dims, (c_stride, a_stride, b_stride), names = loops(node, out, node.outputs[0].shape, c, a, b)
    out.call(
        node, "where", names, [node.outputs[0].name], dims=dims, c_stride=c_stride,
        a_stride=a_stride, b_stride=b_stride,
    )  # fmt: skip


def bind(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    size = DTYPES[tensors[call.outputs[0]].dtype].itemsize
    names = dict(zip(("c", "a", "b", "y"), (*call.inputs, *call.outputs), strict=True))
    return [Binding(f"where_b{size}", {**names, **call.attrs})]


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    p: dict[str, Any] = dict(attrs)
    c, a, b = (operand(x, p["dims"], p[f"{s}_stride"]) for x, s in zip(inputs, "cab", strict=True))
    return [np.where(c != 0, a, b).reshape(outputs[0].shape)]


register(
    Contract("where", ("c", "a", "b"), ("y",), reference, in_place=(1, 2), bind=bind, items=spans_of_runs),
    Operator("Where", shape, lower, kernels=("where", "copy")),
)
