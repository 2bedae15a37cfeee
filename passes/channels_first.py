"""Which nodes can work on channels-first data, and which should. Not a pass.

A tensor ``(.., C)`` with ``M`` rows is *row-major* as it stands and *channels-first* as ``(1, C, 1, M)``.
Element-wise nodes, LayerNormalization and reshapes that keep the last dimension can work on either. Every
tensor that is made in one layout and read in the other costs one transposition, whatever the number of its
readers. `choose` finds the labels with the fewest transpositions, as a minimum cut.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf, prod

import numpy as np
import onnx_ir as ir

from edgesparse.passes.cut import SINK, SOURCE, Network
from edgesparse.passes.match import attribute_int, constant, is_float32, is_op, operand, scalar, shape
from edgesparse.types import Array, Shape

UNARY = frozenset(
    "Abs Clip Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Neg Reciprocal Relu Sigmoid Softplus Sqrt "
    "Swish Tanh".split()
)
BINARY = frozenset("Add Div Max Min Mul Pow Sub".split())
VIEWS = frozenset("Flatten Identity Reshape Squeeze Unsqueeze".split())


def rows_and_channels(value: ir.Value | None) -> tuple[int, int] | None:
    """(M, C) of a float32 tensor ``(.., C)`` of rank 2 or more, not empty."""
    found = shape(value)
    if value is None or found is None or len(found) < 2 or prod(found) == 0 or not is_float32(value):
        return None
    return prod(found[:-1]), found[-1]


def activations_of(node: ir.Node) -> tuple[int, ...] | None:
    """The inputs that must be channels-first for ``node`` to be so; None when it cannot be."""
    size = rows_and_channels(node.outputs[0])
    if size is None or len([v for v in node.outputs if v.uses() or v.is_graph_output()]) > 1:
        return None
    if constant(operand(node, 0)) is not None and not is_op(node, *BINARY):
        return None
    if is_op(node, *VIEWS):
        return (0,) if rows_and_channels(node.inputs[0]) == size else None
    if is_op(node, "LayerNormalization"):
        return (0,) if _normalises_channels(node, size[1]) else None
    if is_op(node, *UNARY):
        numbers = all(v is None or scalar(v) is not None for v in node.inputs[1:])
        return (0,) if numbers and rows_and_channels(node.inputs[0]) == size else None
    if not is_op(node, *BINARY):
        return None
    out = shape(node.outputs[0])
    assert out is not None
    found = []
    for index, value in enumerate(node.inputs):
        array = constant(value)
        if array is not None:
            if turned_constant(array, out) is None:
                return None
        elif _squeezed(shape(value)) != _squeezed(out):
            return None  # broadcast
        else:
            found.append(index)
    return tuple(found) or None


def turned_constant(array: Array, out: Shape) -> Array | None:
    """A constant operand of a node with output ``out`` as it is beside a ``(1, C, 1, M)`` tensor."""
    if array.size == 1:
        return array.reshape(())
    if array.ndim > len(out):
        return None
    aligned = (1,) * (len(out) - array.ndim) + array.shape
    channels = aligned[-1]
    if prod(aligned[:-1]) == 1:
        return array.reshape(1, channels, 1, 1)
    if aligned[:-1] == out[:-1]:
        return np.ascontiguousarray(array.reshape(-1, channels).T).reshape(1, channels, 1, -1)
    return None


def moves_to_rows(node: ir.Node) -> bool:
    """A Transpose ``(1.., C, m..) -> (1.., m.., C)``: its input is its output, channels-first."""
    return _moves(node, to_rows=True)


def moves_to_channels(node: ir.Node) -> bool:
    """A Transpose ``(1.., m.., C) -> (1.., C, m..)``: its output is its input, channels-first."""
    return _moves(node, to_rows=False)


def choose(graph: ir.Graph, fixed: set[ir.Node]) -> set[ir.Node]:
    """The nodes to turn channels-first: ``fixed`` (which read input 0) and whatever saves transpositions."""
    flexible = {n: found for n in graph if n not in fixed and (found := activations_of(n)) is not None}
    transposition = 1 + len(flexible)  # preferences below must not outweigh a single one
    network = Network()
    made: dict[ir.Value, Hashable] = {}
    readers: dict[ir.Value, set[Hashable]] = {}

    for node in graph:
        if node in fixed or moves_to_rows(node):
            made[node.outputs[0]] = SINK
        elif node in flexible:
            made[node.outputs[0]] = node
            # an Add can become the residual of a convolution; anything else is left as it was
            if node.op_type == "Add":
                network.edge(node, SINK, 1)
            else:
                network.edge(SOURCE, node, 1)
        for index, value in enumerate(node.inputs):
            if value is None or constant(value) is not None or moves_to_rows(node):
                continue
            if node in fixed or moves_to_channels(node):
                label: Hashable = SINK if index == 0 else SOURCE
            else:
                label = node if index in flexible.get(node, ()) else SOURCE
            readers.setdefault(value, set()).add(label)
    for value in graph.outputs:
        readers.setdefault(value, set()).add(SOURCE)
    for value, labels in readers.items():
        maker = made.get(value, SOURCE)
        to_channels, to_rows = (value, "channels"), (value, "rows")  # one transposition for all readers
        network.edge(maker, to_channels, transposition)
        network.edge(to_rows, maker, transposition)
        for reader in labels - {maker}:
            network.edge(to_channels, reader, inf)
            network.edge(reader, to_rows, inf)
    return fixed | {n for n in network.sink_side() if isinstance(n, ir.Node)}


def _squeezed(dims: Shape | None) -> Shape | None:
    """Without leading ones."""
    if dims is None:
        return None
    first = next((i for i, d in enumerate(dims[:-2]) if d != 1), max(len(dims) - 2, 0))
    return dims[first:]


def _normalises_channels(node: ir.Node, channels: int) -> bool:
    source = shape(node.inputs[0])
    if source is None or attribute_int(node, "axis", -1) not in (-1, len(source) - 1) or "es_axis" in node.attributes:
        return False
    vectors = [constant(v) for i in (1, 2) if (v := operand(node, i)) is not None]
    return all(v is not None and v.shape == (channels,) for v in vectors)


def _moves(node: ir.Node, *, to_rows: bool) -> bool:
    source, target = (shape(node.inputs[0]), shape(node.outputs[0])) if is_op(node, "Transpose") else (None, None)
    if source is None or target is None or prod(source) == 0 or not is_float32(node.outputs[0]):
        return False
    attribute = node.attributes.get("perm")
    perm = tuple(attribute.as_ints()) if attribute is not None else tuple(reversed(range(len(source))))
    order = [axis for axis in perm if source[axis] != 1]  # the axes that move data, as they come out
    if len(order) < 2:
        return False
    kept = sorted(order)
    if to_rows:  # the last dimension of the output is C
        return target[-1] != 1 and order == [*kept[1:], kept[0]]
    return source[-1] != 1 and order == [kept[-1], *kept[:-1]]
