"""Conversions of what transformers are made of."""

from __future__ import annotations

from collections.abc import Callable

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import onnx

from bench.engine import CannotRun
from bench.tflite.converter import NONE, OPS, Converter
from bench.tflite.graph import attributes


def _matmul(c: Converter, node: onnx.NodeProto) -> None:
    """By a constant: fully connected, with the bias that is added to it; else a batched product."""
    c.plain(node)
    left, right = node.input
    if right not in c.graph.constants:
        out = c.new(node.output[0])
        c.writer.add(OPS.BATCH_MATMUL, [c.operand(left), c.operand(right)], out, schema.BatchMatMulOptionsT())
        return
    weight = c.graph.constant(right)
    if weight.ndim != 2:
        raise CannotRun(f"the product '{node.name}' is by {weight.ndim}-dimensional weights")
    bias, last = np.zeros(weight.shape[1], np.float32), node
    reader = c.graph.only_reader(node.output[0])
    if reader is not None and reader.op_type == "Add":
        added = [c.graph.constants[name] for name in reader.input if name in c.graph.constants]
        if added and added[0].shape == bias.shape:
            bias, last = added[0], reader
            c.take(reader)
    out, activation = c.finish(last)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction, options.keepNumDims = activation, True
    constants = [c.writer.constant(right, weight.T), c.writer.constant(f"{out}/bias", bias)]
    c.writer.add(OPS.FULLY_CONNECTED, [c.operand(left), *constants], out, options)


def _softmax(c: Converter, node: onnx.NodeProto) -> None:
    c.plain(node)
    shape = c.graph.shape(node.input[0])
    if attributes(node).get("axis", -1) % len(shape) != len(shape) - 1:
        raise CannotRun(f"the Softmax '{node.name}' is not along the last axis")
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    c.writer.add(OPS.SOFTMAX, [c.index[node.input[0]]], c.new(node.output[0]), options)


def _layer_normalization(c: Converter, node: onnx.NodeProto) -> None:
    """``(x - mean) * rsqrt(mean((x - mean)^2) + epsilon) * scale + bias``: .tflite has no operator for it."""
    c.plain(node)
    name, a = node.output[0], attributes(node)
    shape = c.graph.shape(node.input[0])
    if a.get("axis", -1) % len(shape) != len(shape) - 1 or len([n for n in node.output if n]) > 1:
        raise CannotRun(f"the LayerNormalization '{node.name}' is not of the last axis alone")
    row = (*shape[:-1], 1)
    epsilon = c.writer.constant(f"{name}/epsilon", np.array(a.get("epsilon", 1e-5), np.float32))
    mean = _step(c, OPS.MEAN, [c.index[node.input[0]], _last(c, name, len(shape))], f"{name}/mean", row)
    centred = _step(c, OPS.SUB, [c.index[node.input[0]], mean], f"{name}/centred", shape)
    square = _step(c, OPS.MUL, [centred, centred], f"{name}/square", shape)
    variance = _step(c, OPS.MEAN, [square, _last(c, f"{name}/2", len(shape))], f"{name}/variance", row)
    positive = _step(c, OPS.ADD, [variance, epsilon], f"{name}/positive", row)
    inverse = _step(c, OPS.RSQRT, [positive], f"{name}/inverse", row)
    value = _step(c, OPS.MUL, [centred, inverse], f"{name}/normal", shape)
    if len(node.input) > 2 and node.input[2]:
        value = _step(c, OPS.MUL, [value, c.operand(node.input[1])], f"{name}/scaled", shape)
        c.writer.add(OPS.ADD, [value, c.operand(node.input[2])], c.new(name), _options(OPS.ADD))
    else:
        c.writer.add(OPS.MUL, [value, c.operand(node.input[1])], c.new(name), _options(OPS.MUL))


def _last(c: Converter, name: str, rank: int) -> int:
    return c.writer.constant(f"{name}/axis", np.array([rank - 1], np.int32))


def _step(c: Converter, code: int, inputs: list[int], name: str, shape: tuple[int, ...]) -> int:
    out = c.writer.tensor(name, shape)
    c.writer.add(code, inputs, out, _options(code))
    return out


def _options(code: int) -> object:
    if code == OPS.RSQRT:
        return None
    if code == OPS.MEAN:
        reduced = schema.ReducerOptionsT()
        reduced.keepDims = True
        return reduced
    made = {OPS.ADD: schema.AddOptionsT, OPS.SUB: schema.SubOptionsT, OPS.MUL: schema.MulOptionsT}[code]()
    made.fusedActivationFunction = NONE
    return made


CONVERSIONS: dict[str, Callable[[Converter, onnx.NodeProto], None]] = {
    "LayerNormalization": _layer_normalization, "MatMul": _matmul, "Softmax": _softmax,
}  # fmt: skip
