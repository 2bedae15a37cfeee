"""Nodes that change nothing go."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isnan

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgesparse.passes.activations import clip_bounds
from edgesparse.passes.match import constant, is_float32, is_op, new_initializer, operand, private, scalar


class EliminateNops(ir.passes.InPlacePass):
    """Remove nodes whose output is their first input, whatever its values.

    These are ``x + 0``, ``x * 1`` and their kin; Dropout at inference; Cast to the type that ``x`` has; Concat, Sum,
    Max, Min or Mean of one tensor; Reshape, Expand, Tile, Slice and Split that give the shape ``x`` has; Pad with
    zeros on all sides; Clip without bounds; pooling with windows of one element; reductions over dimensions of
    size 1. Min and Max with a constant number become Clips; Relus and Clips in a row become one. The result is standard
    ONNX.

    Does not remove a node that broadcasts or changes the type, or a Dropout whose mask is read.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            modified |= _as_clip(model.graph, node)
            if is_op(node, "Relu", "Clip") and _join(model.graph, node):
                modified = True
            elif _does_nothing(node):
                _become_identity(node, _activation(node))
        modified |= common.IdentityEliminationPass()(model).modified
        return ir.passes.PassResult(model, modified)


def _does_nothing(node: ir.Node) -> bool:
    rule = _RULES.get(node.op_type) if is_op(node, node.op_type) else None
    if rule is None or any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        return False
    x = _activation(node)
    if x is None or constant(x) is not None:
        return False
    return rule(node) and (is_op(node, *_KEEPS_SHAPE) or _same_shape(x, node.outputs[0]))


def _same_shape(x: ir.Value, y: ir.Value) -> bool:
    """Equal dimensions, numbers or names."""
    if x.shape is None or y.shape is None or len(x.shape) != len(y.shape):
        return False
    return all(
        a == b and (isinstance(a, int) or a.value is not None) for a, b in zip(x.shape, y.shape, strict=True)
    )  # fmt: skip


def _become_identity(node: ir.Node, x: ir.Value | None) -> None:
    node.op_type = "Identity"
    node.resize_inputs(1)
    node.replace_input_with(0, x)
    node.attributes.clear()
    node.resize_outputs(1)


def _activation(node: ir.Node) -> ir.Value | None:
    """The first operand, or the one of ``c + x`` that is not constant."""
    turned = is_op(node, "Add", "Mul") and constant(node.inputs[0]) is not None
    return node.inputs[1 if turned else 0]


def _filled_with(number: float) -> Callable[[ir.Node], bool]:
    """The other operand is a constant of nothing but ``number``."""

    def rule(node: ir.Node) -> bool:
        array = constant(node.inputs[1 if _activation(node) is node.inputs[0] else 0])
        return array is not None and array.size > 0 and bool((array == number).all())

    return rule


def _always(node: ir.Node) -> bool:
    return True


def _alone(node: ir.Node) -> bool:
    return len(node.inputs) == 1


def _idle_dropout(node: ir.Node) -> bool:
    """At inference: the mode is an input since opset 12, and never on before."""
    training = operand(node, 2)
    known = constant(training)
    return training is None or (known is not None and not known.any())


def _same_type(node: ir.Node) -> bool:
    x = node.inputs[0]
    return x is not None and x.dtype is not None and x.dtype == node.outputs[0].dtype


def _unbounded(node: ir.Node) -> bool:
    return clip_bounds(node) == (-inf, inf)


def _forwards(node: ir.Node) -> bool:
    """A Slice with positive steps (of the whole, when the shape stays)."""
    if operand(node, 4) is None:
        return True
    steps = constant(operand(node, 4))
    return steps is not None and bool((steps > 0).all())


def _pads_nothing(node: ir.Node) -> bool:
    """Not only the shape: ``[1, -1]`` shifts."""
    pads = constant(operand(node, 1))
    return pads is not None and not pads.any()


def _window_of_one(node: ir.Node) -> bool:
    defaults = {"kernel_shape": 1, "strides": 1, "pads": 0}
    found = {name: node.attributes[name].as_ints() for name in defaults if name in node.attributes}
    return all(set(numbers) <= {defaults[name]} for name, numbers in found.items())


_KEEPS_SHAPE = ("Dropout", "Cast", "CastLike", "Clip", "Concat", "Sum", "Max", "Min", "Mean")
_RULES: dict[str, Callable[[ir.Node], bool]] = {
    **{name: _filled_with(0) for name in ("Add", "Sub")},
    **{name: _filled_with(1) for name in ("Mul", "Div", "Pow")},
    **dict.fromkeys(("Concat", "Sum", "Max", "Min", "Mean"), _alone),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile", "Split"), _always),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), _always),
    **dict.fromkeys(("Cast", "CastLike"), _same_type),
    **dict.fromkeys(("AveragePool", "MaxPool"), _window_of_one),
    "Dropout": _idle_dropout,
    "Clip": _unbounded,
    "Slice": _forwards,
    "Pad": _pads_nothing,
}


def _as_clip(graph: ir.Graph, node: ir.Node) -> bool:
    """``Min(x, c)`` -> ``Clip(x, , c)`` and ``Max(x, c)`` -> ``Clip(x, c)`` of floats."""
    if not is_op(node, "Min", "Max") or len(node.inputs) != 2:
        return False
    for x, other in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        number = scalar(other)
        if x is None or number is None or isnan(number) or constant(x) is not None or not is_float32(node.outputs[0]):
            continue
        if not _same_shape(x, node.outputs[0]):
            continue
        bound = new_initializer(graph, f"{node.outputs[0].name}.bound", np.array(number, np.float32))
        inputs = (x, bound) if node.op_type == "Max" else (x, None, bound)
        node.op_type = "Clip"
        node.resize_inputs(len(inputs))
        for index, value in enumerate(inputs):
            node.replace_input_with(index, value)
        return True
    return False


def _bounds(node: ir.Node) -> tuple[float, float] | None:
    return (0.0, inf) if is_op(node, "Relu") else clip_bounds(node)


def _join(graph: ir.Graph, node: ir.Node) -> bool:
    """``clip(clip(x))`` -> ``clip(x)``; the inner bounds go through the outer ones."""
    x = node.inputs[0]
    first = None if x is None else x.producer()
    if first is None or x is None or not is_op(first, "Relu", "Clip"):
        return False
    inner, outer = _bounds(first), _bounds(node)
    if inner is None or outer is None or inner[0] > inner[1] or outer[0] > outer[1]:
        return False
    low, high = (min(max(bound, outer[0]), outer[1]) for bound in inner)
    if (low, high) == inner:
        _become_identity(node, x)
        return True
    if not private(x, [node]):
        return False
    node.replace_input_with(0, first.inputs[0])
    graph.remove(first, safe=True)
    if (low, high) != outer:
        dtype = np.dtype(np.float32) if x.dtype is None else x.dtype.numpy()
        node.op_type = "Clip"
        node.attributes.clear()
        node.resize_inputs(3)
        for index, bound in ((1, low), (2, high)):
            none = bound in (-inf, inf)
            value = None if none else new_initializer(graph, f"{node.name}.bound", np.array(bound, dtype))
            node.replace_input_with(index, value)
    return True
