"""An ONNX file as engines of 2023 read it: the same computation, in older words."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import numpy_helper


def save_older(source: Path, target: Path, *, ir_version: int) -> None:
    """Write ``source`` with the older ``ir_version``, and its means over whole planes as GlobalAveragePool."""
    model = onnx.load(source)
    model.ir_version = min(model.ir_version, ir_version)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        # since opset 18 the axes are an input, which old engines do not look at
        if node.op_type == "ReduceMean" and len(node.input) == 2 and node.input[1] in constants:
            axes = sorted(int(a) % 4 for a in numpy_helper.to_array(constants[node.input[1]]).reshape(-1))
            keep = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
            if axes == [2, 3] and keep:
                node.op_type = "GlobalAveragePool"
                del node.input[1:]
                del node.attribute[:]
    onnx.save(model, target)
