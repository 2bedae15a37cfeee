"""Recognises activation functions, as single nodes and in the ways exporters spell them out. Not a pass.

Spelled-out forms are read as products (see `algebra`), so that ``0.5 * x * (1 + erf(x / sqrt(2)))`` is found
however it is bracketed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isnan, pi, sqrt

import numpy as np
import onnx_ir as ir

from edgesparse.passes.algebra import Nodes, Product, affine, near, plus, product
from edgesparse.passes.match import (
    attribute_float,
    attribute_string,
    constant,
    is_float32,
    is_op,
    operand,
    private,
    scalar,
    shape,
)
from edgesparse.types import Array


@dataclass(frozen=True, slots=True)
class Activation:
    """``root = act(x)``. ``nodes`` compute it and end in ``root``; ``lo`` and ``hi`` as in `es_act`.

    ``slope`` are PRelu's, one a channel.
    """

    act: str
    x: ir.Value
    nodes: Nodes
    lo: float = 0.0
    hi: float = 0.0
    slope: Array | None = None


_Form = Callable[[ir.Node], Activation | None]


def recognise(root: ir.Node) -> Activation | None:
    """The activation of float32 values that ``root`` is the last node of, or None.

    The nodes between are read by nobody else, so that they can go.
    """
    if not is_op(root, *_FORMS) or not is_float32(root.outputs[0]):
        return None
    found = _FORMS[root.op_type](root)
    if found is not None and not _closed(found) and root.op_type == "Clip":  # a part of it then
        bounds = clip_bounds(root)
        found = None if bounds is None else _bounded(root, bounds)
    if found is None or not _closed(found) or constant(found.x) is not None:
        return None
    # constants of a higher rank than x would widen the result
    return found if shape(found.x) == shape(root.outputs[0]) else None


def _closed(found: Activation) -> bool:
    return all(private(node.outputs[0], found.nodes) for node in found.nodes[:-1])


def clip_bounds(node: ir.Node) -> tuple[float, float] | None:
    """(min, max) of a Clip, ``-inf`` and ``inf`` where there is none. None when they are not constant numbers."""
    if operand(node, 1) is None and operand(node, 2) is None:  # attributes before opset 11, or no bounds at all
        low, high = attribute_float(node, "min", -inf), attribute_float(node, "max", inf)
    else:
        bounds = [scalar(v) if (v := operand(node, i)) is not None else none for i, none in ((1, -inf), (2, inf))]
        if bounds[0] is None or bounds[1] is None:
            return None
        low, high = bounds[0], bounds[1]
    return None if isnan(low) or isnan(high) else (low, high)


def _x(node: ir.Node) -> ir.Value:
    x = node.inputs[0]
    assert x is not None
    return x


def _plain(act: str, lo: float = 0.0, hi: float = 0.0) -> _Form:
    return lambda node: Activation(act, _x(node), (node,), lo, hi)


def _clip(node: ir.Node) -> Activation | None:
    bounds = clip_bounds(node)
    if bounds is None:
        return None
    if bounds == (0.0, 1.0):  # Clip(a x + b, 0, 1)
        for a, x, b, nodes in affine(_x(node)):
            if nodes:
                return Activation("hard_sigmoid", x, (*nodes, node), a, b)
    return _bounded(node, bounds)


def _bounded(node: ir.Node, bounds: tuple[float, float]) -> Activation:
    return Activation("relu" if bounds == (0.0, inf) else "clip", _x(node), (node,), *bounds)


def _hard_sigmoid(node: ir.Node) -> Activation:
    alpha, beta = attribute_float(node, "alpha", 0.2), attribute_float(node, "beta", 0.5)
    return Activation("hard_sigmoid", _x(node), (node,), alpha, beta)


def _leaky_relu(node: ir.Node) -> Activation:
    return Activation("leaky_relu", _x(node), (node,), attribute_float(node, "alpha", 0.01))


def _prelu(node: ir.Node) -> Activation | None:
    x, slope = _x(node), constant(operand(node, 1))
    if slope is None:
        return None
    if slope.size == 1:
        return Activation("leaky_relu", x, (node,), float(slope.reshape(())))
    if x.shape is None or slope.ndim > len(x.shape) or len(x.shape) < 2:
        return None
    aligned = (1,) * (len(x.shape) - slope.ndim) + slope.shape
    if slope.size != aligned[1]:
        return None  # not one a channel
    return Activation("prelu", x, (node,), slope=slope.reshape(-1).astype(np.float32))


def _swish(node: ir.Node) -> Activation | None:
    return Activation("silu", _x(node), (node,)) if attribute_float(node, "alpha", 1.0) == 1.0 else None


def _gelu(node: ir.Node) -> Activation | None:
    act = {"none": "gelu", "tanh": "gelu_tanh"}.get(attribute_string(node, "approximate", "none"))
    return None if act is None else Activation(act, _x(node), (node,))


def _from_product(node: ir.Node) -> Activation | None:
    """Mul or Div as the last node of SiLU, HardSwish, HardSigmoid or GELU."""
    whole = product(node.outputs[0])
    if len(whole.factors) == 1:
        return _scaled_clip(whole)
    if len(whole.factors) != 2:
        return None
    for x, gate in (whole.factors, whole.factors[::-1]):
        found = _gated(whole, x, gate)
        if found is not None:
            return found
    return None


def _scaled_clip(whole: Product) -> Activation | None:
    """``c * Clip(a x + b, 0, 1 / c)``, a HardSigmoid."""
    node = whole.factors[0].producer()
    bounds = clip_bounds(node) if node is not None and is_op(node, "Clip") else None
    if node is None or bounds is None or bounds[0] != 0 or not near(bounds[1] * whole.number, 1.0):
        return None
    a, x, b, nodes = next(affine(_x(node)))
    return Activation("hard_sigmoid", x, (*nodes, node, *whole.nodes), a * whole.number, b * whole.number)


def _gated(whole: Product, x: ir.Value, gate: ir.Value) -> Activation | None:
    """``number * x * gate(x)``."""
    node = gate.producer()
    if node is None:
        return None
    if is_op(node, "Sigmoid") and node.inputs[0] is x and near(whole.number, 1.0):
        return Activation("silu", x, (node, *whole.nodes))
    if is_op(node, "HardSigmoid") and node.inputs[0] is x and near(whole.number, 1.0):
        gentle = _hard_sigmoid(node)
        if near(gentle.lo, 1 / 6) and near(gentle.hi, 0.5):
            return Activation("hard_swish", x, (node, *whole.nodes))
    if is_op(node, "Clip"):
        bounds = clip_bounds(node)
        if bounds is not None and bounds[0] == 0 and near(bounds[1] * whole.number, 1.0):
            for a, inner, b, nodes in affine(_x(node)):
                if inner is x and near(a * whole.number, 1 / 6) and near(b * whole.number, 0.5):
                    return Activation("hard_swish", x, (*nodes, node, *whole.nodes))
    if is_op(node, "Add"):
        return _gelu_gate(whole, x, gate)
    return None


def _gelu_gate(whole: Product, x: ir.Value, gate: ir.Value) -> Activation | None:
    """``0.5 x (1 + erf(x / sqrt 2))`` or ``0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))``."""
    total = plus(gate)
    if total is None:
        return None
    curve = product(total.term, top=False)
    if len(curve.factors) != 1 or not near(total.number, curve.number) or not near(total.number * whole.number, 0.5):
        return None
    node = curve.factors[0].producer()
    if node is None or not is_op(node, "Erf", "Tanh"):
        return None
    inside = product(_x(node), top=False)
    nodes = (*inside.nodes, node, *curve.nodes, *total.nodes, *whole.nodes)
    if node.op_type == "Erf":
        same = inside.factors == (x,) and near(inside.number, sqrt(0.5))
        return Activation("gelu", x, nodes) if same else None
    if not near(inside.number, sqrt(2 / pi)):
        return None
    cubic = _cubic(inside.factors, x)
    return None if cubic is None else Activation("gelu_tanh", x, (*cubic, *nodes))


def _cubic(factors: tuple[ir.Value, ...], x: ir.Value) -> Nodes | None:
    """The nodes of ``x + 0.044715 x^3`` or ``x * (1 + 0.044715 x^2)``, or None."""
    if len(factors) == 2 and x in factors:
        other = factors[0] if factors[1] is x else factors[1]
        total = plus(other)
        if total is None or not near(total.number, 1.0):
            return None
        term, power, nodes = total.term, 2, total.nodes
    elif len(factors) == 1:
        node = factors[0].producer()
        if node is None or not is_op(node, "Add") or x not in node.inputs:
            return None
        found = node.inputs[0] if node.inputs[1] is x else node.inputs[1]
        if found is None:
            return None
        term, power, nodes = found, 3, (node,)
    else:
        return None
    raised = product(term, top=False)
    flat, inner = _powers(raised.factors, x)
    return (*inner, *raised.nodes, *nodes) if flat == (x,) * power and near(raised.number, 0.044715) else None


def _powers(factors: tuple[ir.Value, ...], x: ir.Value) -> tuple[tuple[ir.Value, ...], Nodes]:
    """Factors that are themselves powers of x, multiplied out."""
    flat: tuple[ir.Value, ...] = ()
    nodes: Nodes = ()
    for factor in factors:
        deeper = product(factor, top=factor is not x)
        flat, nodes = flat + deeper.factors, nodes + deeper.nodes
    return flat, nodes


_FORMS: dict[str, _Form] = {
    "Relu": _plain("relu", 0.0, inf),
    "Sigmoid": _plain("sigmoid"),
    "Tanh": _plain("tanh"),
    "HardSwish": _plain("hard_swish"),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "Swish": _swish,
    "Gelu": _gelu,
    "Mul": _from_product,
    "Div": _from_product,
}
