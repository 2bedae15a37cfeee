"""What the converter asks of an ONNX graph: shapes, constants, readers, attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from bench.engine import Array, CannotRun, Shape


class Graph:
    """An ONNX file with static shapes."""

    def __init__(self, path: Path) -> None:
        model = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True)
        graph = model.graph
        self.nodes = list(graph.node)
        self.constants: dict[str, Array] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.outputs = [value.name for value in graph.output]
        self._shapes: dict[str, Shape] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            self._shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def shape(self, name: str) -> Shape:
        """As in the file: NCHW."""
        shape = self._shapes.get(name, ())
        if not shape or not all(shape):
            raise CannotRun(f"'{name}' has no fixed shape")
        return shape

    def constant(self, name: str) -> Array:
        if name not in self.constants:
            raise CannotRun(f"'{name}' is not a constant")
        return self.constants[name]

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that reads ``name``, if it is the only one and the value is no output."""
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    found: dict[str, Any] = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return found


def axes(node: onnx.NodeProto, graph: Graph) -> list[int]:
    """Of a reduction, before opset 18 and since; as positive numbers."""
    given = attributes(node).get("axes")
    if given is None and len(node.input) > 1:
        given = graph.constant(node.input[1]).reshape(-1).tolist()
    rank = len(graph.shape(node.input[0]))
    return sorted(int(a) % rank for a in (range(rank) if given is None else given))


def bounds(node: onnx.NodeProto, graph: Graph) -> tuple[float, float]:
    """Of a Clip."""
    ends = [-np.inf, np.inf]
    for i, name in enumerate(node.input[1:3]):
        if name:
            ends[i] = float(graph.constant(name))
    return ends[0], ends[1]
