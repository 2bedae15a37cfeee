"""Conversions of what convolutional networks are made of."""

from __future__ import annotations

from collections.abc import Callable

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import onnx

from bench.engine import CannotRun
from bench.tflite.converter import NONE, OPS, RELU6, Converter, activation_of
from bench.tflite.graph import attributes, axes, bounds

SPARSE_FROM = 0.5  # share of zeros from which weights are stored sparse


def _conv(c: Converter, node: onnx.NodeProto) -> None:
    a, source = attributes(node), node.input[0]
    weight = c.graph.constant(node.input[1])
    group, channels = a.get("group", 1), c.graph.shape(source)[1]
    if weight.ndim != 4 or list(a.get("dilations", [1, 1])) != [1, 1] or a.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise CannotRun(f"the convolution '{node.name}' is not 2-D, is dilated, or has auto_pad")
    depthwise = group == channels and weight.shape[0] == channels and group > 1
    if group != 1 and not depthwise:
        raise CannotRun(f"the convolution '{node.name}' has {group} groups")
    out_shape = c.graph.shape(node.output[0])
    kernel, stride = (weight.shape[2], weight.shape[3]), tuple(a.get("strides", [1, 1]))
    data, padding = c.padded(source, kernel, stride, list(a.get("pads", [0] * 4)), out_shape)
    bias = c.graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros(weight.shape[0], np.float32)
    out, activation = c.finish(node, planes=True)
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding, options.fusedActivationFunction = padding, activation
    options.strideH, options.strideW = stride
    options.dilationHFactor = options.dilationWFactor = 1
    order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
    if depthwise:
        options.depthMultiplier = 1
    sparse = c.sparse and not depthwise and kernel == (1, 1) and (weight == 0).mean() >= SPARSE_FROM
    store = c.writer.sparse_constant if sparse else c.writer.constant
    constants = [store(node.input[1], weight.transpose(order)), c.writer.constant(f"{out}/bias", bias)]
    c.writer.add(OPS.DEPTHWISE_CONV_2D if depthwise else OPS.CONV_2D, [data, *constants], out, options)


def _gemm(c: Converter, node: onnx.NodeProto) -> None:
    a = attributes(node)
    if a.get("transA", 0) or a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0:
        raise CannotRun(f"the product '{node.name}' is scaled or has its input transposed")
    c.plain(node)
    weight = c.graph.constant(node.input[1])
    weight = weight if a.get("transB", 0) else weight.T
    bias = c.graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros(weight.shape[0], np.float32)
    out, activation = c.finish(node)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = activation
    constants = [c.writer.constant(node.input[1], weight), c.writer.constant(f"{out}/bias", bias)]
    c.writer.add(OPS.FULLY_CONNECTED, [c.index[node.input[0]], *constants], out, options)


def _relu(c: Converter, node: onnx.NodeProto) -> None:
    kind = activation_of(node, c.graph)
    if kind is None:
        raise CannotRun(f"the Clip '{node.name}' has bounds {bounds(node, c.graph)}")
    out = c.new(node.output[0], planes=node.input[0] in c.planes)
    c.at_least_zero.add(node.output[0])
    c.writer.add(OPS.RELU6 if kind == RELU6 else OPS.RELU, [c.index[node.input[0]]], out)


def _max_pool(c: Converter, node: onnx.NodeProto) -> None:
    a, source = attributes(node), node.input[0]
    kernel, stride, pads = tuple(a["kernel_shape"]), tuple(a.get("strides", [1, 1])), list(a.get("pads", [0] * 4))
    if len(kernel) != 2 or list(a.get("dilations", [1, 1])) != [1, 1] or len(node.output) > 1:
        raise CannotRun(f"the pooling '{node.name}' is not 2-D, is dilated, or gives indices")
    if any(pads) and source not in c.at_least_zero:
        raise CannotRun(f"the pooling '{node.name}' pads values that may be negative")  # Pad writes zeros
    data, padding = c.padded(source, kernel, stride, pads, c.graph.shape(node.output[0]))
    options = schema.Pool2DOptionsT()
    options.padding, options.fusedActivationFunction = padding, NONE
    (options.filterHeight, options.filterWidth), (options.strideH, options.strideW) = kernel, stride
    if source in c.at_least_zero:
        c.at_least_zero.add(node.output[0])
    c.writer.add(OPS.MAX_POOL_2D, [data], c.new(node.output[0], planes=True), options)


def _mean(c: Converter, node: onnx.NodeProto) -> None:
    keep = node.op_type == "GlobalAveragePool" or attributes(node).get("keepdims", 1)
    over = [2, 3] if node.op_type == "GlobalAveragePool" else axes(node, c.graph)
    if over != [2, 3] or not keep or node.input[0] not in c.planes:
        raise CannotRun(f"the mean '{node.name}' is not over whole planes")
    out = c.new(node.output[0], planes=True)
    options = schema.ReducerOptionsT()
    options.keepDims = True
    planes = c.writer.constant(f"{node.output[0]}/axes", np.array([1, 2], np.int32))
    c.writer.add(OPS.MEAN, [c.index[node.input[0]], planes], out, options)


CONVERSIONS: dict[str, Callable[[Converter, onnx.NodeProto], None]] = {
    "Clip": _relu, "Conv": _conv, "Gemm": _gemm, "GlobalAveragePool": _mean, "MaxPool": _max_pool,
    "ReduceMean": _mean, "Relu": _relu,
}  # fmt: skip
