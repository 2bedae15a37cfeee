"""What all conversions of nodes share: tensors by the name of their value, layouts, fused activations, padding."""

from __future__ import annotations

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import onnx

from bench.engine import CannotRun, Shape
from bench.tflite.graph import Graph, bounds
from bench.tflite.writer import Writer

OPS = schema.BuiltinOperator
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
NONE, RELU, RELU6 = (getattr(schema.ActivationFunctionType, n) for n in ("NONE", "RELU", "RELU6"))
Pair = tuple[int, int]


class Converter:
    """``planes`` names the values that are NHWC in the .tflite; all others have the shape and order of ONNX."""

    def __init__(self, graph: Graph, *, sparse: bool = False) -> None:
        self.graph, self.writer, self.sparse = graph, Writer(), sparse
        self.index: dict[str, int] = {}
        self.planes: set[str] = set()
        self.at_least_zero: set[str] = set()
        self._taken: set[str] = set()

    def new(self, name: str, *, planes: bool = False) -> int:
        """The tensor of an activation."""
        shape = self.graph.shape(name)
        if planes:
            self.planes.add(name)
            shape = (shape[0], *shape[2:], shape[1])
        self.index[name] = self.writer.tensor(name, shape)
        return self.index[name]

    def operand(self, name: str) -> int:
        """The tensor of an activation or a constant."""
        if name not in self.index and name in self.graph.constants:
            self.index[name] = self.writer.constant(name, self.graph.constants[name])
        return self.index[name]

    def plain(self, node: onnx.NodeProto) -> None:
        """Raises CannotRun where an input is NHWC and ``node`` would see it."""
        for name in node.input:
            if name in self.planes:
                raise CannotRun(f"{node.op_type} '{node.name}' of planes")

    def take(self, node: onnx.NodeProto) -> None:
        """``node`` was converted together with an earlier one."""
        self._taken.update(node.output)

    def done(self, node: onnx.NodeProto) -> bool:
        return node.output[0] in self._taken

    def finish(self, node: onnx.NodeProto, *, planes: bool = False) -> tuple[int, int]:
        """The output tensor of ``node`` and the activation to fuse, whose node is then done."""
        name, activation = node.output[0], NONE
        reader = self.graph.only_reader(name)
        if reader is not None and (kind := activation_of(reader, self.graph)) is not None:
            self.take(reader)
            name, activation = reader.output[0], kind
            self.at_least_zero.add(name)
        return self.new(name, planes=planes), activation

    def padded(self, name: str, kernel: Pair, stride: Pair, pads: list[int], out: Shape) -> tuple[int, int]:
        """The tensor to read instead of ``name`` and the padding that remains; ``pads``: top, left, bottom, right."""
        size = self.graph.shape(name)[2:]
        total = [max(0, (out[2 + i] - 1) * stride[i] + kernel[i] - size[i]) for i in (0, 1)]
        same_size = all(out[2 + i] == -(-size[i] // stride[i]) for i in (0, 1))
        if name not in self.planes:
            raise CannotRun(f"'{name}' are no planes")
        if not any(total) and not any(pads):
            return self.index[name], VALID
        # XNNPACK's sparse inference takes stride 2 with explicit padding only
        same_size = same_size and not (self.sparse and max(stride) > 1)
        # a window may end before the padding does, and with ceil_mode the padding before the window
        if same_size and all(pads[i] == total[i] // 2 for i in (0, 1)):
            return self.index[name], SAME
        amounts = np.array([[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]], np.int32)
        n, c = self.graph.shape(name)[:2]
        larger = (n, size[0] + pads[0] + pads[2], size[1] + pads[1] + pads[3], c)
        if any(out[2 + i] != (larger[1 + i] - kernel[i]) // stride[i] + 1 for i in (0, 1)):
            raise CannotRun(f"'{name}': windows that reach over the end of their padding")
        padded = self.writer.tensor(f"{name}/padded", larger)
        amounts_index = self.writer.constant(f"{name}/pads{len(self.index)}", amounts)
        self.writer.add(OPS.PAD, [self.index[name], amounts_index], padded, schema.PadOptionsT())
        return padded, VALID


def activation_of(node: onnx.NodeProto, graph: Graph) -> int | None:
    """What of ``node`` a layer before it can do."""
    if node.op_type == "Relu":
        return int(RELU)
    if node.op_type == "Clip":
        return {(0.0, 6.0): int(RELU6), (0.0, np.inf): int(RELU)}.get(bounds(node, graph))
    return None
