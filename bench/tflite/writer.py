"""A .tflite file, put together through the schema that ai-edge-litert ships."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np

from bench.engine import Array, Shape

TYPES = {np.dtype(np.float32): schema.TensorType.FLOAT32, np.dtype(np.int32): schema.TensorType.INT32}


class Writer:
    """Collects tensors and operators; tensors are known by their index."""

    def __init__(self) -> None:
        self._buffers: list[Any] = [schema.BufferT()]  # by convention the first one is empty
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[int] = []

    def tensor(self, name: str, shape: Shape) -> int:
        """A float32 activation."""
        return self._tensor(name, shape, schema.TensorType.FLOAT32, 0)

    def constant(self, name: str, values: Array) -> int:
        """float32 or int32."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._buffers.append(buffer)
        return self._tensor(name, values.shape, TYPES[values.dtype], len(self._buffers) - 1)

    def sparse_constant(self, name: str, filters: Array) -> int:
        """(O, 1, 1, I) as compressed sparse rows behind an operator that makes them dense."""
        rows, columns = np.nonzero(filters[:, 0, 0, :])
        ends = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=filters.shape[0]))])
        sparsity = schema.SparsityParametersT()
        sparsity.traversalOrder = np.arange(4, dtype=np.int32)
        sparsity.dimMetadata = [*(_dense_dimension(n) for n in filters.shape[:3]), _sparse_dimension(ends, columns)]
        packed = self.constant(f"{name}/packed", filters[rows, 0, 0, columns])
        self._tensors[packed].shape = np.array(filters.shape, np.int32)
        self._tensors[packed].sparsity = sparsity
        dense = self.tensor(name, filters.shape)
        self.add(schema.BuiltinOperator.DENSIFY, [packed], dense, schema.DensifyOptionsT())
        return dense

    def add(self, code: int, inputs: Sequence[int], output: int, options: Any = None) -> None:
        """An operator: a value of ``BuiltinOperator``, and an object such as ``Conv2DOptionsT``."""
        if code not in self._codes:
            self._codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.index(code)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self._operators.append(operator)

    def write(self, path: Path, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        graph = schema.SubGraphT()
        graph.tensors, graph.operators, graph.name = self._tensors, self._operators, "main"
        graph.inputs, graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        model = schema.ModelT()
        model.version, model.description = 3, "bench.tflite"
        model.subgraphs, model.buffers = [graph], self._buffers
        model.operatorCodes = [_code(code) for code in self._codes]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(builder.Output())

    def _tensor(self, name: str, shape: Shape, type_: int, buffer: int) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name, type_, buffer
        tensor.shape = np.array(shape, np.int32)
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _code(code: int) -> Any:
    operator_code = schema.OperatorCodeT()
    operator_code.builtinCode = code
    operator_code.deprecatedBuiltinCode = min(code, 127)  # where readers before schema version 3a look
    operator_code.version = 1
    return operator_code


def _dense_dimension(size: int) -> Any:
    dimension = schema.DimensionMetadataT()
    dimension.format, dimension.denseSize = schema.DimensionType.DENSE, size
    return dimension


def _sparse_dimension(ends: Array, indices: Array) -> Any:
    dimension = schema.DimensionMetadataT()
    dimension.format = schema.DimensionType.SPARSE_CSR
    dimension.arraySegmentsType = dimension.arrayIndicesType = schema.SparseIndexVector.Int32Vector
    dimension.arraySegments, dimension.arrayIndices = schema.Int32VectorT(), schema.Int32VectorT()
    dimension.arraySegments.values, dimension.arrayIndices.values = ends.astype(np.int32), indices.astype(np.int32)
    return dimension
