"""An ONNX chain of convolutions -> .tflite, sparse where the weights are: what LiteRT is compared with.

Written with the schema that ai-edge-litert ships; TensorFlow is not needed. Activations become NHWC, borders
explicit PADs. XNNPACK takes its sparse path when the weights of 1x1 convolutions are CSR constants behind DENSIFY.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir

from edgesparse.errors import InputError
from edgesparse.types import Array

SPARSE_FROM = 0.5
"""Share of zeros from which the weights of a 1x1 convolution are stored sparse."""


def load_schema(site: Path) -> ModuleType:
    """ai_edge_litert.schema_py_generated out of the folder ``site``, without the package around it."""
    path = site / "ai_edge_litert" / "schema_py_generated.py"
    sys.path.append(str(site))  # for flatbuffers, pure Python
    try:
        spec = importlib.util.spec_from_file_location("bench_tflite_schema", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(site))
    return module


def convert(model: ir.Model, schema: ModuleType, site: Path) -> bytes:
    """``model``: simplified, of Conv (2-D), Relu, Clip to [0, 6], ReduceMean over H and W, Reshape, Gemm.

    Raises:
        InputError: another operator, or one of these in a form that is not needed here.
    """
    writer = _Writer(schema)
    source = model.graph.inputs[0]
    shape = _shape(source)
    writer.inputs = [writer.tensor((shape[0], *shape[2:], shape[1]))]
    at = {source.name: writer.inputs[0]}
    nodes = list(model.graph)
    skip: set[str | None] = set()
    for node in nodes:
        if node.name in skip:
            continue
        x, out = at[_value(node, 0).name], node.outputs[0]
        if node.op_type in ("Conv", "Gemm"):
            act, last = _activation(node, schema)
            if last is not node:
                skip.add(last.name)
            made = writer.conv(node, x, act) if node.op_type == "Conv" else writer.gemm(node, x, act)
            at[last.outputs[0].name] = made
        elif node.op_type in ("ReduceMean", "GlobalAveragePool"):
            at[out.name] = writer.mean(x, _shape(out))
        elif node.op_type in ("Reshape", "Flatten") and _shape(_value(node, 0))[2:] in ((1, 1), ()):
            at[out.name] = x  # only ones go away: NHWC and NCHW are the same
        else:
            raise _refused(node, "is not one of the operators that bench.arm converts to .tflite")
    writer.outputs = [at[model.graph.outputs[0].name]]
    return writer.finish(site)


def _activation(node: ir.Node, schema: ModuleType) -> tuple[int, ir.Node]:
    """The activation that is the only reader of ``node``, and the last node of the two."""
    kind = schema.ActivationFunctionType
    readers = list(node.outputs[0].uses())
    if len(readers) == 1:
        follower = readers[0].node
        if follower.op_type == "Relu":
            return int(kind.RELU), follower
        if follower.op_type == "Clip":
            if [_numbers(follower, i).item() for i in (1, 2)] != [0.0, 6.0]:
                raise _refused(follower, "clips to other bounds than 0 and 6")
            return int(kind.RELU6), follower
    return int(kind.NONE), node


@dataclass
class _Writer:
    schema: Any
    tensors: list[Any] = field(default_factory=list)
    buffers: list[bytes] = field(default_factory=lambda: [b""])
    codes: list[int] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def tensor(self, shape: tuple[int, ...], data: Array | None = None, sparsity: Any = None) -> int:
        made = self.schema.TensorT()
        made.shape, made.name, made.sparsity = list(shape), f"t{len(self.tensors)}", sparsity
        made.type = self.schema.TensorType.FLOAT32
        if data is not None:
            made.buffer = len(self.buffers)
            self.buffers.append(np.ascontiguousarray(data).tobytes())
            if data.dtype == np.int32:
                made.type = self.schema.TensorType.INT32
        self.tensors.append(made)
        return len(self.tensors) - 1

    def operator(self, name: str, inputs: list[int], shape: tuple[int, ...], options: str = "", **fields: Any) -> int:
        code = getattr(self.schema.BuiltinOperator, name)
        if code not in self.codes:
            self.codes.append(code)
        made = self.schema.OperatorT()
        made.opcodeIndex, made.inputs = self.codes.index(code), inputs
        if options:
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            made.builtinOptions = getattr(self.schema, f"{options}T")()
            for key, value in fields.items():
                setattr(made.builtinOptions, key, value)
        made.outputs = [self.tensor(shape)]
        self.operators.append(made)
        return int(made.outputs[0])

    def conv(self, node: ir.Node, x: int, act: int) -> int:
        """2-D convolution: dense, depthwise or 1x1 sparse."""
        weight = _numbers(node, 1)
        bias = _numbers(node, 2) if len(node.inputs) > 2 else np.zeros(weight.shape[0], np.float32)
        group = _integers(node, "group", (1,))[0]
        strides, pads = _integers(node, "strides", (1, 1)), _integers(node, "pads", (0, 0, 0, 0))
        if weight.ndim != 4 or _integers(node, "dilations", (1, 1)) != (1, 1):
            raise _refused(node, "is no plain 2-D convolution")
        batch, height, width, channels = self.tensors[x].shape
        if any(pads):
            border = np.array([[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]], np.int32)
            padded = (batch, height + pads[0] + pads[2], width + pads[1] + pads[3], channels)
            x = self.operator("PAD", [x, self.tensor((4, 2), border)], padded, "PadOptions")
        out = _shape(node.outputs[0])
        shape = (out[0], out[2], out[3], out[1])
        common = {
            "padding": self.schema.Padding.VALID, "strideH": strides[0], "strideW": strides[1],
            "fusedActivationFunction": act, "dilationHFactor": 1, "dilationWFactor": 1,
        }  # fmt: skip
        biases = self.tensor(bias.shape, bias.astype(np.float32))
        if group == channels and weight.shape[1] == 1:
            filters = weight[:, 0].transpose(1, 2, 0)[None]
            inputs = [x, self.tensor(filters.shape, filters), biases]
            return self.operator(
                "DEPTHWISE_CONV_2D", inputs, shape, "DepthwiseConv2DOptions",
                depthMultiplier=weight.shape[0] // channels, **common,
            )  # fmt: skip
        if group != 1:
            raise _refused(node, "is a grouped convolution")
        filters = weight.transpose(0, 2, 3, 1)
        sparse = weight.shape[2:] == (1, 1) and (weight == 0).mean() >= SPARSE_FROM
        constant = self.sparse(filters) if sparse else self.tensor(filters.shape, filters)
        return self.operator("CONV_2D", [x, constant, biases], shape, "Conv2DOptions", **common)

    def sparse(self, filters: Array) -> int:
        """(O, 1, 1, I) as compressed sparse rows behind DENSIFY."""
        rows, columns = np.nonzero(filters[:, 0, 0, :])
        segments = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=filters.shape[0]))])
        made = self.schema.SparsityParametersT()
        made.traversalOrder = [0, 1, 2, 3]
        made.dimMetadata = [self._dimension(dense=n) for n in filters.shape[:3]]
        made.dimMetadata.append(self._dimension(segments=segments, indices=columns))
        packed = self.tensor(filters.shape, filters[rows, 0, 0, columns], made)
        return self.operator("DENSIFY", [packed], filters.shape, "DensifyOptions")

    def _dimension(self, dense: int = 0, segments: Array | None = None, indices: Array | None = None) -> Any:
        kinds = self.schema.DimensionType
        made = self.schema.DimensionMetadataT()
        if segments is None or indices is None:
            made.format, made.denseSize = kinds.DENSE, dense
            return made
        made.format = kinds.SPARSE_CSR
        made.arraySegmentsType = made.arrayIndicesType = self.schema.SparseIndexVector.Int32Vector
        made.arraySegments, made.arrayIndices = self.schema.Int32VectorT(), self.schema.Int32VectorT()
        made.arraySegments.values = segments.astype(np.int32)
        made.arrayIndices.values = indices.astype(np.int32)
        return made

    def mean(self, x: int, out: tuple[int, ...]) -> int:
        """Average over height and width."""
        axes = self.tensor((2,), np.array([1, 2], np.int32))
        return self.operator("MEAN", [x, axes], (out[0], 1, 1, out[1]), "ReducerOptions", keepDims=True)

    def gemm(self, node: ir.Node, x: int, act: int) -> int:
        weight = _numbers(node, 1)
        if "transB" not in node.attributes or not node.attributes["transB"].as_int():
            weight = weight.T
        bias = _numbers(node, 2)
        inputs = [x, self.tensor(weight.shape, weight), self.tensor(bias.shape, bias)]
        return self.operator(
            "FULLY_CONNECTED", inputs, _shape(node.outputs[0]), "FullyConnectedOptions",
            fusedActivationFunction=act, keepNumDims=False,
        )  # fmt: skip

    def finish(self, site: Path) -> bytes:
        schema = self.schema
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = (
            self.tensors, self.operators, self.inputs, self.outputs
        )  # fmt: skip
        model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [], []
        for code in self.codes:
            made = schema.OperatorCodeT()
            made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), 1
            model.operatorCodes.append(made)
        for data in self.buffers:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data, np.uint8) if data else None
            model.buffers.append(buffer)
        builder = sys.modules["flatbuffers"].Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _value(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        raise _refused(node, f"has no input {index}")
    return value


def _numbers(node: ir.Node, index: int) -> Array:
    constant = _value(node, index).const_value
    if constant is None:
        raise _refused(node, f"computes its input {index} at run time")
    numbers: Array = constant.numpy()
    return numbers


def _integers(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    if name not in node.attributes:
        return default
    value = node.attributes[name].value
    return (value,) if isinstance(value, int) else tuple(value)


def _shape(value: ir.Value) -> tuple[int, ...]:
    if value.shape is None or not all(isinstance(n, int) for n in value.shape):
        raise InputError("a shape is not known", where=str(value.name), hint="export the model with static shapes")
    return tuple(int(n) for n in value.shape)  # type: ignore[arg-type]


def _refused(node: ir.Node, what: str) -> InputError:
    return InputError(f"{node.op_type} {what}", where=str(node.name), hint="leave the peer out with --against none")
