"""An ONNX network as a list of layers in NHWC and one file of weights: what web/tfjs.mjs calls tfjs's operators by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bench.engine import Array, CannotRun
from bench.tflite.graph import Graph, attributes, axes, bounds

RELU, RELU6 = "relu", "relu6"


def write(source: Path, layers: Path, weights: Path) -> None:
    """Raises CannotRun for an operator, or a form of one, that is not written here."""
    writer = _Writer(Graph(source))
    model = onnx.load(source, load_external_data=False)
    known = {t.name for t in model.graph.initializer}
    for node in writer.graph.nodes:
        writer.add(node)
    inputs = [value.name for value in model.graph.input if value.name not in known]
    network = {"inputs": inputs, "outputs": writer.graph.outputs, "steps": writer.steps}
    layers.write_text(json.dumps(network))
    weights.write_bytes(b"".join(writer.data))


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps: list[dict[str, Any]] = []
        self.data: list[bytes] = []
        self._size = 0
        self._fused: set[str] = set()

    def add(self, node: onnx.NodeProto) -> None:
        if node.output[0] in self._fused:
            return
        made = OPERATORS.get(node.op_type)
        if made is None:
            raise CannotRun(f"our layers for tfjs have none for {node.op_type}")
        fields = made(self, node)
        output = node.output[0]
        if "activation" in fields:
            reader = self.graph.only_reader(output)
            kind = None if reader is None else _activation(reader, self.graph)
            if reader is not None and kind is not None:
                fields["activation"], output = kind, reader.output[0]
                self._fused.add(output)
        self.steps.append({"inputs": [node.input[0]], **fields, "output": output})

    def constant(self, values: Array) -> dict[str, Any]:
        data = np.ascontiguousarray(values, np.float32)
        place = {"offset": self._size, "shape": list(data.shape)}
        self.data.append(data.tobytes())
        self._size += data.nbytes
        return place

    def bias(self, node: onnx.NodeProto, channels: int) -> dict[str, Any]:
        given = self.graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros(channels, np.float32)
        return self.constant(given.reshape(-1))


def _activation(node: onnx.NodeProto, graph: Graph) -> str | None:
    if node.op_type == "Relu":
        return RELU
    if node.op_type == "Clip":
        return {(0.0, 6.0): RELU6, (0.0, np.inf): RELU}.get(bounds(node, graph))
    return None


def _conv(writer: _Writer, node: onnx.NodeProto) -> dict[str, Any]:
    a = attributes(node)
    weight, channels = writer.graph.constant(node.input[1]), writer.graph.shape(node.input[0])[1]
    group, pads = a.get("group", 1), list(a.get("pads", [0] * 4))
    if weight.ndim != 4 or list(a.get("dilations", [1, 1])) != [1, 1] or a.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise CannotRun(f"the convolution '{node.name}' is not 2-D, is dilated, or has auto_pad")
    depthwise = group > 1 and group == channels == weight.shape[0]
    if group > 1 and not depthwise:
        raise CannotRun(f"the convolution '{node.name}' has {group} groups")
    # HWIO, and for depthwise convolutions H, W, channel, multiplier
    order = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
    return {
        "op": "depthwise" if depthwise else "conv",
        "weight": writer.constant(weight.transpose(order)), "bias": writer.bias(node, weight.shape[0]),
        "strides": list(a.get("strides", [1, 1])),
        "pad": [[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]] if any(pads) else "valid",
        "activation": "linear",
    }  # fmt: skip


def _dense(writer: _Writer, node: onnx.NodeProto) -> dict[str, Any]:
    a = attributes(node)
    if a.get("transA", 0) or a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0:
        raise CannotRun(f"the product '{node.name}' is scaled or has its input transposed")
    weight = writer.graph.constant(node.input[1])
    weight = weight.T if a.get("transB", 0) else weight
    bias = writer.bias(node, weight.shape[1])
    return {"op": "dense", "weight": writer.constant(weight), "bias": bias, "activation": "linear"}


def _add(writer: _Writer, node: onnx.NodeProto) -> dict[str, Any]:
    if len({writer.graph.shape(name) for name in node.input}) > 1:
        raise CannotRun(f"the sum '{node.name}' broadcasts")
    return {"op": "add", "inputs": list(node.input)}


def _mean(writer: _Writer, node: onnx.NodeProto) -> dict[str, Any]:
    whole = node.op_type == "GlobalAveragePool"
    if not whole and (axes(node, writer.graph) != [2, 3] or not attributes(node).get("keepdims", 1)):
        raise CannotRun(f"the mean '{node.name}' is not over whole planes")
    return {"op": "mean"}


def _reshape(writer: _Writer, node: onnx.NodeProto) -> dict[str, Any]:
    if writer.graph.shape(node.input[0])[2:] != (1, 1):
        raise CannotRun(f"'{node.name}' reshapes planes of more than one element")
    return {"op": "reshape", "shape": list(writer.graph.shape(node.output[0]))}


def _lone_activation(writer: _Writer, node: onnx.NodeProto) -> dict[str, Any]:
    kind = _activation(node, writer.graph)
    if kind is None:
        raise CannotRun(f"the Clip '{node.name}' has bounds {bounds(node, writer.graph)}")
    return {"op": kind}


OPERATORS = {
    "Add": _add, "Clip": _lone_activation, "Conv": _conv, "Flatten": _reshape, "Gemm": _dense,
    "GlobalAveragePool": _mean, "ReduceMean": _mean, "Relu": _lone_activation, "Reshape": _reshape,
}  # fmt: skip
