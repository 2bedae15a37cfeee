"""Additions become part of the convolution or matrix product before them."""

from __future__ import annotations

import logging
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.passes.epilogues import PRODUCERS, refuses_residual, refuses_rows
from edgesparse.passes.match import (
    attribute_float,
    constant,
    extra_input,
    is_float32,
    is_op,
    label,
    new_initializer,
    operand,
    private,
    shape,
    take_over,
)
from edgesparse.types import Array

_log = logging.getLogger(__name__)


class FuseResidual(ir.passes.InPlacePass):
    """Fold ``Add(Conv(x), r)`` into the Conv: ``y = conv(x) + bias + r``, before any activation.

    A tensor ``r`` of the shape of the output becomes an extra input, whose index is ``es_residual_input``; of
    two convolutions the later one takes it. The Conv moves to the place of the Add where ``r`` is made after it.
    A constant with one number a channel is added to the bias: of Conv, ConvTranspose and Gemm to their own,
    of ``MatMul(x, w)`` with a constant ``w (K, N)`` to an extra input ``(N,)``, whose index is ``es_bias_input``.

    Saves one pass over the activation in memory. Does not fuse into depthwise or grouped convolutions, behind
    an activation, or where the product is read elsewhere or is an output of the graph; the log (DEBUG) says so
    with the node's name. The result is no standard ONNX.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        graph = model.graph
        order = {node: float(index) for index, node in enumerate(graph)}
        for add in list(graph):
            if is_op(add, "Add") and is_float32(add.outputs[0]):
                modified |= self._bias(graph, add) or self._residual(graph, add, order)
        return ir.passes.PassResult(model, modified)

    def _bias(self, graph: ir.Graph, add: ir.Node) -> bool:
        for value, other in ((add.inputs[0], add.inputs[1]), (add.inputs[1], add.inputs[0])):
            node = None if value is None else value.producer()
            added = constant(other)
            if node is None or added is None or not is_op(node, *PRODUCERS):
                continue
            vector = _per_channel(node, added)
            if vector is None or shape(node.outputs[0]) != shape(add.outputs[0]):
                continue
            refusal = _refuses_bias(node, add)
            if refusal:
                _log.debug("%s is not added to the bias of %s: %s", label(add), label(node), refusal)
                continue
            _add_bias(graph, node, vector)
            take_over(node, [add], add)
            return True
        return False

    def _residual(self, graph: ir.Graph, add: ir.Node, order: dict[ir.Node, float]) -> bool:
        pairs = []
        for value, other in ((add.inputs[0], add.inputs[1]), (add.inputs[1], add.inputs[0])):
            node = None if value is None else value.producer()
            if node is not None and other is not None and is_op(node, "Conv"):
                pairs.append((order[node], node, other))
        for _, conv, other in sorted(pairs, key=lambda pair: -pair[0]):
            refusal = _refuses_other(conv, other, add) or refuses_residual(conv)
            if refusal:
                _log.debug("%s is not fused into %s: %s", label(add), label(conv), refusal)
                continue
            source = other.producer()
            if source is not None and order[source] > order[conv]:
                graph.remove(conv)
                graph.insert_before(add, conv)
                order[conv] = order[add]
            extra_input(conv, other, "es_residual_input", first=3)
            take_over(conv, [add], add)
            return True
        return False


def _refuses_other(conv: ir.Node, other: ir.Value, add: ir.Node) -> str:
    if other is conv.outputs[0]:
        return "it is added to itself"
    if not private(conv.outputs[0], [add]):
        return "its output is read elsewhere, too"
    wanted = shape(conv.outputs[0])
    if wanted is None or shape(other) != wanted:
        return f"shapes {shape(other)} and {wanted} differ"
    return ""


def _per_channel(node: ir.Node, added: Array) -> Array | None:
    """``added`` as one number a channel of the output of ``node``, or None."""
    out = shape(node.outputs[0])
    if out is None or len(out) < 2 or added.ndim > len(out):
        return None
    axis = 1 if node.op_type in ("Conv", "ConvTranspose") else len(out) - 1
    aligned = (1,) * (len(out) - added.ndim) + added.shape
    if added.size not in (1, out[axis]) or aligned[axis] != added.size:
        return None
    return np.broadcast_to(added.reshape(-1), out[axis]).astype(np.float32)


def _refuses_bias(node: ir.Node, add: ir.Node) -> str:
    if not private(node.outputs[0], [add]):
        return "its output is read elsewhere, too"
    if "es_act" in node.attributes:
        return "it has an activation already"
    if node.op_type in ("Gemm", "MatMul"):
        return refuses_rows(node)
    bias = operand(node, 2)
    return "its bias is not constant" if bias is not None and constant(bias) is None else ""


def _add_bias(graph: ir.Graph, node: ir.Node, vector: Array) -> None:
    matmul = node.op_type == "MatMul"
    old = operand(node, 2)
    if old is not None:
        before = constant(old)
        assert before is not None
        scale = np.float32(attribute_float(node, "beta", 1.0))
        vector = vector + scale * np.broadcast_to(before.reshape(-1), prod(vector.shape)).astype(np.float32)
    if "beta" in node.attributes:
        node.attributes["beta"] = ir.AttrFloat32("beta", 1.0)
    bias = new_initializer(graph, f"{node.name}.bias", vector)
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, bias)
    if matmul:
        node.attributes["es_bias_input"] = ir.AttrInt64("es_bias_input", 2)
