"""Conversions of what moves numbers without computing any."""

from __future__ import annotations

from collections.abc import Callable

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import onnx

from bench.engine import CannotRun, Shape
from bench.tflite.converter import NONE, OPS, Converter
from bench.tflite.graph import attributes


def _concat(c: Converter, node: onnx.NodeProto) -> None:
    rank = len(c.graph.shape(node.output[0]))
    axis = attributes(node)["axis"] % rank
    planes = [name in c.planes for name in node.input]
    if any(planes) and not all(planes):
        raise CannotRun(f"the concatenation '{node.name}' mixes planes and others")
    options = schema.ConcatenationOptionsT()
    options.axis, options.fusedActivationFunction = (0, 3, 1, 2)[axis] if all(planes) else axis, NONE
    if set(node.input) <= c.at_least_zero:
        c.at_least_zero.add(node.output[0])
    out = c.new(node.output[0], planes=all(planes))
    c.writer.add(OPS.CONCATENATION, [c.operand(name) for name in node.input], out, options)


def _reshape(c: Converter, node: onnx.NodeProto) -> None:
    source, name = node.input[0], node.output[0]
    before, after = c.graph.shape(source), c.graph.shape(name)
    if source in c.planes and before[2:] != (1, 1):
        # (N, C, H, W) -> (N, C, H W) -> (N, H W, C), the entry of a transformer: of NHWC a plain Reshape
        reader = c.graph.only_reader(name)
        to_tokens = reader is not None and reader.op_type == "Transpose" and attributes(reader)["perm"] == [0, 2, 1]
        if reader is None or not to_tokens or after != (*before[:2], before[2] * before[3]):
            raise CannotRun(f"'{node.name}' reshapes planes of {before} to {after}")
        c.take(reader)
        name = reader.output[0]
    # planes of one element each hold the same numbers in the same order, NHWC or NCHW
    _write_reshape(c, c.index[source], name)


def _write_reshape(c: Converter, source: int, name: str) -> None:
    shape = np.array(c.graph.shape(name), np.int32)
    options = schema.ReshapeOptionsT()
    options.newShape = shape
    c.writer.add(OPS.RESHAPE, [source, c.writer.constant(f"{name}/shape", shape)], c.new(name), options)


def _transpose(c: Converter, node: onnx.NodeProto) -> None:
    c.plain(node)
    order = c.writer.constant(f"{node.output[0]}/order", np.array(attributes(node)["perm"], np.int32))
    c.writer.add(OPS.TRANSPOSE, [c.index[node.input[0]], order], c.new(node.output[0]), schema.TransposeOptionsT())


def _gather(c: Converter, node: onnx.NodeProto) -> None:
    """One index of one axis: a Slice and a Reshape."""
    c.plain(node)
    source, name = node.input[0], node.output[0]
    shape, indices = c.graph.shape(source), c.graph.constant(node.input[1])
    if indices.ndim != 0:
        raise CannotRun(f"the Gather '{node.name}' takes more than one index")
    axis = attributes(node).get("axis", 0) % len(shape)
    begin, size = [0] * len(shape), list(shape)
    begin[axis], size[axis] = int(indices) % shape[axis], 1
    part: Shape = tuple(size)
    sliced = c.writer.tensor(f"{name}/slice", part)
    ends = [
        c.writer.constant(f"{name}/{word}", np.array(v, np.int32)) for word, v in (("begin", begin), ("size", size))
    ]
    c.writer.add(OPS.SLICE, [c.index[source], *ends], sliced, schema.SliceOptionsT())
    _write_reshape(c, sliced, name)


CONVERSIONS: dict[str, Callable[[Converter, onnx.NodeProto], None]] = {
    "Concat": _concat, "Flatten": _reshape, "Gather": _gather, "Reshape": _reshape, "Transpose": _transpose,
}  # fmt: skip
