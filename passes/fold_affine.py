"""Multiplications and additions per channel become part of the convolution before them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgesparse.passes.match import attribute_int, constant, is_op, new_initializer, operand, private, shape, take_over
from edgesparse.types import Array


class FoldAffine(ir.passes.InPlacePass):
    """Fold ``a * Conv(x) + c`` with constants per channel into the Conv; also ConvTranspose, Div and Sub.

    The new weights are ``a * w`` and the new bias is ``a * b + c``; ``w`` is ``(Cout, Cin/groups, *kernel)``,
    ``(Cin, Cout/groups, *kernel)`` for ConvTranspose, ``a`` and ``c`` are ``(Cout,)``. Saves one pass over the
    output for each. The result is standard ONNX.

    Does not fold when the convolution has another reader or is an output, when weights or bias are not constant,
    when ``a`` is not finite, or when the weights are shared with another node.

    Source: Jacob et al. 2018, section 3.2, https://arxiv.org/abs/1712.05877
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if is_op(node, "Mul", "Div", "Add", "Sub"):
                modified |= _fold(model.graph, node)
        return ir.passes.PassResult(model, modified)


def _fold(graph: ir.Graph, node: ir.Node) -> bool:
    for index in (0, 1):
        value, other = node.inputs[index], node.inputs[1 - index]
        conv = None if value is None else value.producer()
        if conv is None or value is None or not is_op(conv, "Conv", "ConvTranspose") or not private(value, [node]):
            continue
        if node.op_type == "Div" and index == 1:
            continue  # c / conv(x)
        weight, bias = constant(operand(conv, 1)), operand(conv, 2)
        vector = _per_channel(value, node.outputs[0], constant(other))
        if (
            weight is None
            or weight.dtype != np.float32
            or vector is None
            or (bias is not None and constant(bias) is None)
        ):
            continue
        scale, shift = np.ones_like(vector), np.zeros_like(vector)
        if node.op_type == "Mul":
            scale = vector
        elif node.op_type == "Div":
            with np.errstate(divide="ignore"):  # refused below
                scale = 1 / vector
        elif node.op_type == "Add":
            shift = vector
        elif index == 0:
            shift = -vector
        else:
            scale, shift = -scale, vector
        old = operand(conv, 1)
        if not np.isfinite(scale).all() or old is None or len(old.uses()) > 1:
            continue
        _rewrite(graph, conv, scale, shift, weight, constant(bias))
        take_over(conv, [node], node)
        return True
    return False


def _per_channel(value: ir.Value, out: ir.Value, array: Array | None) -> Array | None:
    """``array`` as one number a channel, when adding it to ``value`` gives the shape of ``value``."""
    size = shape(value)
    if array is None or size is None or len(size) < 3 or shape(out) != size or array.ndim > len(size):
        return None
    aligned = (1,) * (len(size) - array.ndim) + array.shape
    if array.dtype != np.float32 or array.size not in (1, size[1]) or aligned[1] != array.size:
        return None
    return np.broadcast_to(array.reshape(-1), size[1]).astype(np.float64)


def _rewrite(graph: ir.Graph, conv: ir.Node, scale: Array, shift: Array, weight: Array, bias: Array | None) -> None:
    """In float64, rounded once."""
    spatial = (1,) * (weight.ndim - 2)
    if conv.op_type == "Conv":
        scaled = weight * scale.reshape(-1, 1, *spatial)
    else:
        groups = attribute_int(conv, "group", 1)
        parts = weight.reshape(groups, -1, *weight.shape[1:]) * scale.reshape(groups, 1, -1, *spatial)
        scaled = parts.reshape(weight.shape)
    if (scale != 1).any():
        conv.replace_input_with(1, new_initializer(graph, f"{conv.name}.weight", scaled.astype(np.float32)))
    total = shift + (0 if bias is None else scale * bias.reshape(-1))
    if len(conv.inputs) < 3:
        conv.resize_inputs(3)
    conv.replace_input_with(2, new_initializer(graph, f"{conv.name}.bias", total.astype(np.float32)))
