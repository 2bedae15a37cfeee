"""Which nodes can take an epilogue, and why others cannot. No pass is defined here."""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from edgesparse.passes.match import attribute_int, constant, is_float32, is_op, operand, private, shape

PRODUCERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def refuses_activation(producer: ir.Node | None, readers: tuple[ir.Node, ...], act: str) -> str | None:
    """Why ``act``, computed by ``readers``, cannot become the epilogue of ``producer``; "" when it can.

    None when the producer is of another kind altogether, which is not worth a message.
    """
    if not is_op(producer, *PRODUCERS):
        return None
    assert producer is not None
    if "es_act" in producer.attributes:
        return "it has an activation already"
    if not private(producer.outputs[0], readers):
        return "its output is read elsewhere, too"
    if producer.op_type in ("Gemm", "MatMul"):
        if act != "prelu":
            return "" if is_float32(producer.outputs[0]) else "it is not float32"
        if len(shape(producer.outputs[0]) or ()) != 2:
            return f"this {producer.op_type} takes no slope per channel"
        return refuses_rows(producer)
    return "" if constant(operand(producer, 1)) is not None else "its weights are not constant"


def refuses_rows(node: ir.Node) -> str:
    """Why a Gemm or MatMul is not a plain fully connected layer ``x (.., K) @ w (K, N) + bias (N)``; "" if it is."""
    x, w, weight = node.inputs[0], operand(node, 1), constant(operand(node, 1))
    if x is None or w is None or weight is None:
        return "its right-hand side is not constant"
    if weight.ndim != 2 or constant(x) is not None:
        return "its right-hand side is not a matrix" if weight.ndim != 2 else "its left-hand side is constant"
    if not is_float32(x):
        return "it is not float32"
    rows = shape(x)
    if rows is None or prod(rows) == 0 or weight.size == 0:
        return "its shape is not known or empty"
    if len(rows) < 2:
        return "its left-hand side is a vector"
    if node.op_type == "MatMul":
        return ""
    if attribute_int(node, "transA", 0):
        return "its left-hand side is transposed (transA)"
    if operand(node, 2) is None:
        return ""
    bias = constant(operand(node, 2))
    width = weight.shape[0 if attribute_int(node, "transB", 0) else 1]
    if bias is None or prod(bias.shape[:-1]) != 1 or bias.size not in (1, width):
        return "its bias is not one constant a column"
    return ""


def refuses_residual(conv: ir.Node) -> str:
    """Why a Conv whose output only the Add reads cannot add a residual; "" when it can."""
    if "es_act" in conv.attributes:
        return "it has an activation already"
    if "es_residual_input" in conv.attributes:
        return "it adds a residual already"
    weight = constant(operand(conv, 1))
    if weight is None:
        return "its weights are not constant"
    groups = attribute_int(conv, "group", 1)
    if groups > 1:
        return "it is depthwise" if weight.shape[1] == 1 else f"it is grouped (group={groups})"
    return "" if is_float32(conv.outputs[0]) else "it is not float32"
