"""Small ONNX models for tests, as protos that a test may damage before it saves them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgesparse.types import Array


def model(
    nodes: Sequence[onnx.NodeProto], inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto],
    weights: dict[str, Array] | None = None, opset: int = 17,
) -> onnx.ModelProto:  # fmt: skip
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "tiny", list(inputs), list(outputs), tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def f32(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def linear(opset: int = 17, batch: int | str = 1) -> onnx.ModelProto:
    """y (batch, 3) = relu(x (batch, 4) w)."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"], name="fc"),
        helper.make_node("Relu", ["xw"], ["y"], name="act"),
    ]
    return model(nodes, [f32("x", batch, 4)], [f32("y", batch, 3)], {"w": numbers(4, 3)}, opset)


def classifier() -> onnx.ModelProto:
    """Conv, pooling, a chain of shape arithmetic as exporters write it, Gemm, Softmax: (n, 2, 8, 8) to (n, 3)."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("MaxPool", ["r"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Shape", ["p"], ["s"], "shape"),
        helper.make_node("Gather", ["s", "zero"], ["n"], "gather"),
        helper.make_node("Concat", ["n", "rest"], ["t"], "concat", axis=0),
        helper.make_node("Reshape", ["p", "t"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "v"], ["g"], "fc", transB=1),
        helper.make_node("Softmax", ["g"], ["y"], "softmax", axis=-1),
    ]
    weights = {
        "w": numbers(4, 2, 3, 3), "b": numbers(4), "v": numbers(3, 16), "zero": np.array([0]), "rest": np.array([-1]),
    }  # fmt: skip
    return model(nodes, [f32("x", "n", 2, 8, 8)], [f32("y", "n", 3)], weights)


def external(location: str, **entries: str) -> onnx.ModelProto:
    """`linear` with its weight in the file ``location``."""
    proto = linear()
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        weight.external_data.add(key=key, value=value)
    return proto
