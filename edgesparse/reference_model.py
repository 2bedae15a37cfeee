"""A model of layers that are typical of networks for phones: what `calibrate` measures kernels over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from edgesparse.patterns import parse_pattern
from edgesparse.types import Array

OPSET = 17
_Made = tuple[list[onnx.NodeProto], list[onnx.ValueInfoProto], list[onnx.ValueInfoProto], list[onnx.TensorProto]]


def reference_model(seed: int = 0) -> ir.Model:
    """Layers side by side, each with an input and an output of its own: pointwise convolutions dense, in blocks and
    unstructured, entry and 3x3 convolutions, depthwise ones, classifiers, and what lies between them.
    """
    random = np.random.default_rng(seed)
    made: _Made = ([], [], [], [])
    for size, channels, pattern, zeros in (
        (28, 128, "", 0.0), (28, 128, "block:4x1", 0.7), (14, 512, "", 0.0), (14, 512, "block:4x1", 0.9),
        (14, 512, "unstructured", 0.8), (7, 512, "", 0.0), (7, 512, "block:4x1", 0.7),
    ):  # fmt: skip
        weight = _sparse(random, (channels, channels, 1, 1), pattern, zeros)
        _conv(made, f"pointwise{size}{pattern}", (1, channels, size, size), weight, 1, 1)
    _conv(made, "entry", (1, 3, 224, 224), _sparse(random, (32, 3, 3, 3)), 2, 1)
    _conv(made, "square", (1, 64, 28, 28), _sparse(random, (64, 64, 3, 3)), 1, 1)
    _conv(made, "square_sparse", (1, 64, 28, 28), _sparse(random, (64, 64, 3, 3), "block:4x1", 0.7), 1, 1)
    for size, kernel, stride in ((56, 3, 1), (56, 3, 2), (28, 5, 1), (14, 3, 1)):
        weight = _sparse(random, (96, 1, kernel, kernel))
        _conv(made, f"depthwise{size}_{kernel}_{stride}", (1, 96, size, size), weight, stride, 96)
    for pattern, zeros in (("", 0.0), ("block:4x1", 0.7)):
        weight = _sparse(random, (1000, 1024), pattern, zeros)
        _add(made, "Gemm", f"classifier{pattern}", [(1, 1024)], (1, 1000), weight, transB=1)
    _add(made, "Add", "add", [(1, 64, 56, 56)] * 2, (1, 64, 56, 56))
    _add(made, "MaxPool", "pool", [(1, 64, 112, 112)], (1, 64, 56, 56), kernel_shape=[3, 3], strides=[2, 2],
         pads=[1, 1, 1, 1])  # fmt: skip
    _add(made, "GlobalAveragePool", "mean", [(1, 512, 7, 7)], (1, 512, 1, 1))
    _add(made, "Sigmoid", "sigmoid", [(1, 64, 56, 56)], (1, 64, 56, 56))
    _add(made, "Softmax", "softmax", [(1, 1000)], (1, 1000))
    nodes, inputs, outputs, weights = made
    graph = helper.make_graph(nodes, "reference", inputs, outputs, weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def _sparse(random: np.random.Generator, shape: tuple[int, ...], pattern: str = "", zeros: float = 0.0) -> Array:
    weight = random.normal(scale=0.1, size=shape).astype(np.float32)
    return np.where(parse_pattern(pattern).mask(np.abs(weight), zeros), weight, np.float32(0)) if pattern else weight


def _conv(made: _Made, name: str, x: tuple[int, ...], weight: Array, stride: int, groups: int) -> None:
    kernel = weight.shape[2]
    y = (1, weight.shape[0], -(-x[2] // stride), -(-x[3] // stride))
    _add(made, "Conv", name, [x], y, weight, group=groups, strides=[stride] * 2, pads=[kernel // 2] * 4,
         kernel_shape=[kernel] * 2)  # fmt: skip


def _add(
    made: _Made, op: str, name: str, xs: Sequence[tuple[int, ...]], y: tuple[int, ...], weight: Array | None = None,
    **attributes: Any,
) -> None:  # fmt: skip
    nodes, inputs, outputs, weights = made
    names = [f"{name}_x{i}" for i in range(len(xs))]
    f32 = onnx.TensorProto.FLOAT
    inputs += [helper.make_tensor_value_info(n, f32, x) for n, x in zip(names, xs, strict=True)]
    outputs.append(helper.make_tensor_value_info(f"{name}_y", f32, y))
    if weight is not None:
        weights.append(numpy_helper.from_array(weight, f"{name}_w"))
        names.append(f"{name}_w")
    nodes.append(helper.make_node(op, names, [f"{name}_y"], name, **attributes))
