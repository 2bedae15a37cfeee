"""Which weights of a model can be pruned, and why the others cannot. No pass is defined here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgesparse.passes.match import attribute_int, constant, is_op, operand
from edgesparse.types import Array

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FIRST = "the first convolution"
CLASSIFIER = "the classifier (the last layer with weights)"


@dataclass(frozen=True, slots=True)
class Weight:
    """An initializer seen as (Co, Ci, *kernel), with the names of all nodes that read it.

    ``dense`` is the reason why it stays as it is ("" when it can be pruned); ``optional`` means
    that this is a default which the caller may overrule.
    """

    value: ir.Value = field(repr=False)
    nodes: tuple[str, ...]
    transposed: bool  # stored as (Ci, Co)
    dense: str = ""
    optional: bool = False
    depthwise: bool = False

    @property
    def name(self) -> str:
        return self.value.name or ""

    def array(self) -> Array:
        assert self.value.const_value is not None
        array: Array = self.value.const_value.numpy()
        return array.T if self.transposed else array

    def replace(self, array: Array) -> None:
        stored = np.ascontiguousarray(array.T if self.transposed else array)
        self.value.const_value = ir.tensor(stored, name=self.name)


def find_weights(model: ir.Model) -> tuple[Weight, ...]:
    """The constant weights of Conv, ConvTranspose, Gemm and MatMul nodes, in graph order, each once."""
    layers = dict(_layers(model.graph))
    first, last = _first_convolutions(model.graph, layers), _last_layers(model.graph, layers)
    by_value: dict[ir.Value, list[ir.Node]] = {}
    for node, index in layers.items():
        value = node.inputs[index]
        assert value is not None
        by_value.setdefault(value, []).append(node)
    found = []
    for value, nodes in by_value.items():
        views = [_view(node, layers[node]) for node in nodes]
        reason = next((reason for _, reason in views if reason), "") or _sharing(value, nodes, [t for t, _ in views])
        optional = ""
        if not reason:
            optional = FIRST if first & set(nodes) else CLASSIFIER if last & set(nodes) else ""
        names = tuple(node.name or "" for node in nodes)
        depthwise = any(_is_depthwise(node, value) for node in nodes)
        if not reason and depthwise:
            optional = f"Conv '{names[0]}' is depthwise: every output reads few inputs already"
        found.append(Weight(value, names, views[0][0], reason or optional, bool(optional), depthwise))
    return tuple(found)


def source_names(node: ir.Node) -> Iterator[str]:
    """The names of the initializers that a weighted node reads, also through constant arithmetic."""
    pending = [v for v in node.inputs[:] if v is not None]
    while pending:
        value = pending.pop()
        if value.const_value is not None and value.name:
            yield value.name
            continue
        producer = value.producer()
        if producer is None or producer.op_type in WEIGHTED:
            continue
        if all(v is None or _is_constant(v) for v in producer.inputs):
            pending += [v for v in producer.inputs if v is not None]


def _is_constant(value: ir.Value) -> bool:
    if value.const_value is not None:
        return True
    producer = value.producer()
    return producer is not None and all(v is None or _is_constant(v) for v in producer.inputs)


def _layers(graph: ir.Graph) -> Iterator[tuple[ir.Node, int]]:
    """Every node with a constant weight, and the input that it is."""
    for node in graph:
        if not is_op(node, *WEIGHTED):
            continue
        for index in (1, 0):
            value = operand(node, index)
            if value is not None and value.is_initializer() and constant(value) is not None:
                yield node, index
                break


def _view(node: ir.Node, index: int) -> tuple[bool, str]:
    """(stored as (Ci, Co), why it cannot be pruned or "")."""
    array = constant(node.inputs[index])
    assert array is not None
    where = f"{node.op_type} '{node.name}'"
    if array.dtype.kind != "f":
        return False, f"{where} has {array.dtype} weights, no floating-point ones"
    if array.size == 0:
        return False, f"{where} has no weights at all"
    if node.op_type == "ConvTranspose":
        return False, f"{where} is a transposed convolution, for which there is no sparse kernel"
    if node.op_type == "Conv":
        groups = attribute_int(node, "group", 1)
        if index == 0 or array.ndim < 3:
            return False, f"{where} convolves a constant"
        if groups == 1 or array.shape[1] == 1:
            return False, ""
        return False, f"{where} is in {groups} groups: every output reads few inputs already"
    if array.ndim != 2:
        return False, f"{where} has a weight of {array.ndim} dimensions; 2 are supported"
    if node.op_type == "Gemm" and index == 1:
        return attribute_int(node, "transB", 0) == 0, ""
    if node.op_type == "Gemm":  # y = A' x: A' is (Co, Ci)
        return attribute_int(node, "transA", 0) == 1, ""
    return index == 1, ""


def _is_depthwise(node: ir.Node, weight: ir.Value) -> bool:
    array = constant(weight)
    return is_op(node, "Conv") and array is not None and attribute_int(node, "group", 1) > 1 and array.shape[1] == 1


def _sharing(value: ir.Value, nodes: list[ir.Node], transposed: list[bool]) -> str:
    """Why a weight with several readers cannot be pruned, or ""."""
    if value.is_graph_output():
        return f"'{value.name}' is an output of the model as well"
    others = [u.node for u in value.uses() if u.node not in nodes]
    if others:
        return f"{others[0].op_type} '{others[0].name}' reads the weight as well"
    if len(set(transposed)) > 1:
        return "its readers use it in two orientations"
    return ""


def _first_convolutions(graph: ir.Graph, layers: dict[ir.Node, int]) -> set[ir.Node]:
    """Convolutions that no other layer comes before."""
    behind: set[ir.Value] = set()  # values that depend on a layer
    first: set[ir.Node] = set()
    for node in graph:
        depends = any(v in behind for v in node.inputs if v is not None)
        if node in layers and node.op_type == "Conv" and not depends:
            first.add(node)
        if depends or node in layers:
            behind.update(node.outputs)
    return first


def _last_layers(graph: ir.Graph, layers: dict[ir.Node, int]) -> set[ir.Node]:
    """Layers that no other layer comes after: the classifier, or the heads of a detector."""
    ahead: set[ir.Value] = set()  # values that a layer depends on
    last: set[ir.Node] = set()
    for node in reversed(graph):
        feeds = any(v in ahead for v in node.outputs)
        if node in layers and not feeds:
            last.add(node)
        if feeds or node in layers:
            ahead.update(v for v in node.inputs if v is not None)
    return last
