"""Reads sums and products out of a graph: Mul, Div and Pow flatten into a number times factors. Not a pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isclose

import onnx_ir as ir

from edgesparse.passes.match import is_op, scalar

TOLERANCE = 3e-5  # of constants: exporters write 1.4142, 0.044715 or 0.16667
Nodes = tuple[ir.Node, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """``number * factors[0] * factors[1] * ...`` and the nodes that multiply."""

    number: float
    factors: tuple[ir.Value, ...]
    nodes: Nodes


@dataclass(frozen=True, slots=True)
class Sum:
    """``number + term``."""

    number: float
    term: ir.Value
    nodes: Nodes


def product(value: ir.Value, *, top: bool = True) -> Product:
    """Flatten ``value``. A factor with several readers is not looked into: it is an x."""
    node = value.producer()
    alone = Product(1.0, (value,), ())
    if node is None or not is_op(node, "Mul", "Div", "Pow") or not (top or len(value.uses()) == 1):
        return alone
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None and b is not None
    left, right = scalar(a), scalar(b)
    if node.op_type == "Pow":
        return Product(1.0, (a,) * int(right), (node,)) if right in (2.0, 3.0) else alone
    if right is not None and not (right == 0 and node.op_type == "Div"):
        inner = product(a, top=False)
        number = inner.number * right if node.op_type == "Mul" else inner.number / right
        return Product(number, inner.factors, (*inner.nodes, node))
    if node.op_type == "Div":
        return alone
    if left is not None:
        inner = product(b, top=False)
        return Product(inner.number * left, inner.factors, (*inner.nodes, node))
    one, two = product(a, top=False), product(b, top=False)
    nodes = tuple(dict.fromkeys((*one.nodes, *two.nodes, node)))
    return Product(one.number * two.number, one.factors + two.factors, nodes)


def plus(value: ir.Value | None) -> Sum | None:
    """``value`` as the sum of a number and something."""
    node = None if value is None else value.producer()
    if node is None or not is_op(node, "Add"):
        return None
    for number, term in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        found = scalar(number)
        if found is not None and term is not None:
            return Sum(found, term, (node,))
    return None


def affine(value: ir.Value) -> Iterator[tuple[float, ir.Value, float, Nodes]]:
    """The ways to read ``value`` as ``a * x + b``: (a, x, b, nodes)."""
    total = plus(value)
    b, term, nodes = (0.0, value, ()) if total is None else (total.number, total.term, total.nodes)
    scaled = product(term, top=total is None)
    if len(scaled.factors) == 1 and scaled.nodes:
        yield scaled.number, scaled.factors[0], b, (*scaled.nodes, *nodes)
    yield 1.0, term, b, nodes


def near(value: float, wanted: float) -> bool:
    return isclose(value, wanted, rel_tol=TOLERANCE, abs_tol=1e-7)
