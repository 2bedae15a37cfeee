"""ONNX as one file, written weight by weight: protobuf would hold all weights once more, and then the whole file."""

from __future__ import annotations

from typing import IO, Any

import onnx
import onnx_ir as ir

_LARGE_BYTES = 1 << 16
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
"""Fields of ModelProto, GraphProto and TensorProto in onnx.proto."""


def write_onnx(model: ir.Model, file: IO[bytes]) -> None:
    """What ``ir.to_proto(model).SerializeToString()`` gives, but that large weights come last."""
    held = model.graph.initializers
    values = dict(held)
    large = {
        name: tensor for name, value in values.items()
        if isinstance(tensor := value.const_value, ir.Tensor | ir.ExternalTensor) and tensor.nbytes >= _LARGE_BYTES
    }  # fmt: skip
    try:
        for name in large:
            del held[name]
        proto = ir.to_proto(model)
    finally:
        held.clear()
        held.update(values)
    graph = proto.graph.SerializeToString()
    proto.ClearField("graph")
    heads = [_head(name, tensor) for name, tensor in large.items()]
    total = len(graph) + sum(len(head) + t.nbytes for head, t in zip(heads, large.values(), strict=True))
    file.write(proto.SerializeToString() + _field(_GRAPH, total) + graph)
    for head, tensor in zip(heads, large.values(), strict=True):
        file.write(head)
        tensor.tofile(file)


def _head(name: str, tensor: ir.Tensor[Any] | ir.ExternalTensor) -> bytes:
    """All of an initializer but its bytes, which follow."""
    proto = onnx.TensorProto(name=name, dims=tensor.shape.numpy(), data_type=int(tensor.dtype))
    facts: bytes = proto.SerializeToString()
    data = _field(_RAW_DATA, tensor.nbytes)
    return _field(_INITIALIZER, len(facts) + len(data) + tensor.nbytes) + facts + data


def _field(number: int, size: int) -> bytes:
    """How protobuf begins a field of ``size`` bytes."""
    return _varint(number << 3 | 2) + _varint(size)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])
