"""RMSNorm, as exporters before opset 23 write it out, becomes one operator."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from edgesparse.passes.match import attribute_int, constant, is_float32, is_op, operand, refuse, scalar

OPSET = 23


@dataclass(frozen=True, slots=True)
class _Norm:
    x: ir.Value
    eps: float


class FuseRmsNorm(ir.passes.InPlacePass):
    """``gain * (x / sqrt(mean(x ** 2) + eps))`` becomes RMSNormalization, over the last axis.

    The square may be a product, the root a reciprocal or a power, the factors in any order. ``gain``: (size,),
    constant.

    Does not fuse a mean over other axes, gains that are not constant, or other types than float32; each refusal is
    noted at the last Mul.

    Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization"
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            modified |= is_op(node, "Mul") and _fuse(model.graph, node)
        if modified:
            model.opset_imports[""] = max(model.opset_imports.get("", 0), OPSET)
        return ir.passes.PassResult(model, modified=modified)


def _fuse(graph: ir.Graph, node: ir.Node) -> bool:
    for gain, value in (node.inputs, node.inputs[::-1]):
        found = None if value is None else _norm(value)
        if found is None or gain is None:
            continue
        gains = constant(gain)
        if gains is None or gains.ndim != 1:
            refuse(node, "the gains of a norm are not constant, one for each entry")
            return False
        if not is_float32(found.x) or not is_float32(node.outputs[0]):
            refuse(node, "a norm of other values than float32")
            return False
        attributes = {"axis": -1, "epsilon": found.eps}
        fused = ir.node("RMSNormalization", [found.x, gain], attributes=attributes, name=node.name)
        graph.insert_before(node, fused)
        old, new = node.outputs[0], fused.outputs[0]
        new.shape, new.type, name = old.shape, old.type, old.name
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        new.name = name
        return True
    return False


def _norm(value: ir.Value) -> _Norm | None:
    """``value`` as ``x / sqrt(mean(x ** 2) + eps)``."""
    node = value.producer()
    if node is None or not is_op(node, "Mul", "Div"):
        return None
    a, b = node.inputs
    assert a is not None and b is not None
    ways = [(a, b, False)] if node.op_type == "Div" else [(a, b, True), (b, a, True)]
    for x, root, inverse in ways:
        total = _under_root(root, inverse)
        if total is None or not is_op(total, "Add"):
            continue
        for mean, eps in (total.inputs, total.inputs[::-1]):
            number = scalar(eps)
            if mean is not None and number is not None and number > 0 and _is_mean_square(mean, x):
                return _Norm(x, number)
    return None


def _under_root(value: ir.Value, inverse: bool) -> ir.Node | None:
    """What makes y, where ``value`` is sqrt(y), or its inverse."""
    node = value.producer()
    if node is None:
        return None
    if inverse:
        if is_op(node, "Reciprocal"):
            node = _producer(node, 0)
        elif is_op(node, "Div") and scalar(node.inputs[0]) == 1:
            node = _producer(node, 1)
        elif is_op(node, "Pow") and scalar(node.inputs[1]) == -0.5:
            return _producer(node, 0)
        else:
            return None
    if is_op(node, "Pow") and node is not None and scalar(node.inputs[1]) == 0.5:
        return _producer(node, 0)
    return _producer(node, 0) if node is not None and is_op(node, "Sqrt") else None


def _is_mean_square(value: ir.Value, x: ir.Value) -> bool:
    node = value.producer()
    if node is None or not is_op(node, "ReduceMean") or not attribute_int(node, "keepdims", 1):
        return False
    axes = constant(operand(node, 1))
    rank = None if x.shape is None else len(x.shape)
    if axes is None or axes.size != 1 or int(axes.reshape(())) not in (-1, -1 if rank is None else rank - 1):
        return False
    square = _producer(node, 0)
    if square is None or square.inputs[0] is not x:
        return False
    return (is_op(square, "Mul") and square.inputs[1] is x) or (is_op(square, "Pow") and scalar(square.inputs[1]) == 2)


def _producer(node: ir.Node, index: int) -> ir.Node | None:
    value = operand(node, index)
    return None if value is None else value.producer()
