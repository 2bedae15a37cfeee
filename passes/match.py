"""What passes ask about a graph: constants, readers, static shapes. No pass is defined here."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from edgesparse.types import Array, Shape

_REFUSED = "edgesparse.refused"
_log = logging.getLogger(__name__)


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """True for a standard ONNX node of one of these types."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in op_types


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """Input ``index``, or None when it is omitted."""
    return node.inputs[index] if index < len(node.inputs) else None


def constant(value: ir.Value | None) -> Array | None:
    """The value of an initializer or a Constant node. None for an initializer that a caller may override."""
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def scalar(value: ir.Value | None) -> float | None:
    """The number in a constant with one element, of any rank."""
    array = constant(value)
    return None if array is None or array.size != 1 or array.dtype.kind not in "fiu" else float(array.reshape(()))


def shape(value: ir.Value | None) -> Shape | None:
    """The shape when every dimension is a number."""
    if value is None or value.shape is None or not all(isinstance(d, int) for d in value.shape):
        return None
    return tuple(int(d) for d in value.shape if isinstance(d, int))


def attribute_int(node: ir.Node, name: str, default: int) -> int:
    found = node.attributes.get(name)
    return default if found is None else found.as_int()


def attribute_float(node: ir.Node, name: str, default: float) -> float:
    found = node.attributes.get(name)
    return default if found is None else found.as_float()


def attribute_string(node: ir.Node, name: str, default: str) -> str:
    found = node.attributes.get(name)
    return default if found is None else found.as_string()


def readers(value: ir.Value) -> set[ir.Node]:
    return {usage.node for usage in value.uses()}


def private(value: ir.Value, nodes: Iterable[ir.Node]) -> bool:
    """True when ``value`` is read by ``nodes`` only and is not an output of the graph."""
    return not value.is_graph_output() and readers(value) <= set(nodes)


def is_float32(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT


def label(node: ir.Node) -> str:
    """How messages name a node."""
    return f"{node.op_type} '{node.name or node.outputs[0].name}'"


def new_initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """Register ``array`` under ``name``, or under ``name`` and a number when a value has that name already."""
    taken = {v.name for v in (*graph.inputs, *graph.initializers.values())}
    taken.update(v.name for node in graph for v in node.outputs)
    unique, count = name, 1
    while unique in taken:
        unique, count = f"{name}_{count}", count + 1
    array = np.ascontiguousarray(array).reshape(array.shape)
    value = ir.Value(
        name=unique, shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        const_value=ir.tensor(array, name=unique),
    )  # fmt: skip
    graph.register_initializer(value)
    return value


def extra_input(node: ir.Node, value: ir.Value, attribute: str, *, first: int) -> None:
    """Append ``value`` to the inputs, at index ``first`` or later, and record its index in ``attribute``."""
    index = max(len(node.inputs), first)
    node.resize_inputs(index + 1)
    node.replace_input_with(index, value)
    node.attributes[attribute] = ir.AttrInt64(attribute, index)


def take_over(producer: ir.Node, nodes: Iterable[ir.Node], root: ir.Node) -> None:
    """Remove ``nodes``, which end in ``root``; ``producer`` makes what ``root`` made, under the same name."""
    graph = root.graph
    assert isinstance(graph, ir.Graph)
    old, new = root.outputs[0], producer.outputs[0]
    name = old.name
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(list(nodes), safe=True)
    new.name = name
    new.shape, new.type = old.shape or new.shape, old.type or new.type


def refuse(node: ir.Node, reason: str) -> None:
    """Note why a pass left ``node`` alone, for whoever stops at it later (`refusal`). The last reason stays."""
    node.meta[_REFUSED] = reason
    _log.info("%s: %s", label(node), reason)


def refusal(node: ir.Node) -> str | None:
    """What `refuse` noted."""
    found = node.meta.get(_REFUSED)
    return found if isinstance(found, str) else None
