"""An ONNX model without its weights: what may be sent to others where a model may not."""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

INTEGERS_KEPT = 1024
"""Shapes, axes and indices say what a graph does; longer ones are tables that somebody learned."""
OTHERS_KEPT = 5
"""Bounds of Clip, scales of Resize, zero points. Weights are floats, but integers of 8 and 32 bits, too."""
LEFT_OUT = "edgesparse.left_out"


def stripped(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """A copy in which weights have become inputs of the same type and shape, and a line for each: name, type, shape,
    share of zeros. Documentation and metadata are left out, too; names are not.

    Weights that are constants of a subgraph, or in another file, become inputs of the model like the others; those that
    are constants of a function become zeros.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    lines: list[str] = []
    weights = list(_strip(copy.graph, lines))
    have = {value.name for value in copy.graph.input}
    copy.graph.input.extend(value for value in weights if value.name not in have)
    del copy.metadata_props[:]
    del copy.training_info[:]
    copy.doc_string = ""
    for function in copy.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for value in function.value_info:
            value.doc_string = ""
            del value.metadata_props[:]
        weights += _strip_nodes(function.node, lines, inside=True)
    entry = copy.metadata_props.add()
    entry.key, entry.value = LEFT_OUT, "\n".join(lines)
    return copy, lines


def read_stripped(path: Path) -> tuple[bytes, list[str]]:
    """`stripped` of a file, as bytes. Raises OSError, or what protobuf raises where it is no model."""
    copy, lines = stripped(onnx.load(path, load_external_data=False))
    return copy.SerializeToString(), lines


def _strip(graph: onnx.GraphProto, lines: list[str]) -> Iterator[onnx.ValueInfoProto]:
    graph.doc_string = ""
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.doc_string = ""
        del value.metadata_props[:]
    kept = []
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
        if _is_small(tensor):
            kept.append(tensor)
        else:
            yield _left_out(tensor, tensor.name, lines)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for sparse in graph.sparse_initializer:
        yield _left_out(sparse.values, sparse.values.name, lines, list(sparse.dims))
    del graph.sparse_initializer[:]
    yield from _strip_nodes(graph.node, lines, inside=False)


def _strip_nodes(
    nodes: MutableSequence[onnx.NodeProto], lines: list[str], inside: bool
) -> Iterator[onnx.ValueInfoProto]:
    """``inside`` of a function, which sees no inputs of the model."""
    kept = []
    for node in nodes:
        node.doc_string = ""
        del node.metadata_props[:]
        constant = _constant(node) if node.op_type == "Constant" else None
        if constant is not None and not _is_small(constant):
            value = _left_out(constant, node.output[0], lines)
            if not inside:
                yield value
                continue
            del node.attribute[:]
            node.attribute.append(_zeros_of(constant))
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") or attribute.graphs else ():
                yield from _strip(inner, lines)
            _empty(attribute, f"{node.name or node.op_type}.{attribute.name}", lines)
        kept.append(node)
    del nodes[:]
    nodes.extend(kept)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """What a Constant holds, whichever attribute it is in; of a sparse one, all of it."""
    for attribute in node.attribute:
        if attribute.HasField("t"):
            found: onnx.TensorProto = attribute.t
            return found
        if attribute.HasField("sparse_tensor"):
            dense = onnx.TensorProto()
            dense.CopyFrom(attribute.sparse_tensor.values)
            del dense.dims[:]
            dense.dims.extend(attribute.sparse_tensor.dims)
            return dense
        if attribute.floats:
            return numpy_helper.from_array(np.array(attribute.floats, np.float32))
    return None


def _zeros_of(tensor: onnx.TensorProto) -> onnx.AttributeProto:
    """The attribute of a Constant that is a sparse tensor without any values."""
    sparse = onnx.SparseTensorProto(dims=tensor.dims)
    sparse.values.data_type, sparse.indices.data_type = tensor.data_type, onnx.TensorProto.INT64
    sparse.values.dims.append(0)
    sparse.indices.dims.append(0)
    return onnx.helper.make_attribute("sparse_value", sparse)


def _empty(attribute: onnx.AttributeProto, name: str, lines: list[str]) -> None:
    """Without what somebody may have learned; what it was, and how much of it, is said."""
    attribute.doc_string = ""
    if len(attribute.floats) > OTHERS_KEPT:
        lines.append(f"{name}: {len(attribute.floats)} floats")
        del attribute.floats[:]
    if len(attribute.ints) > INTEGERS_KEPT:
        lines.append(f"{name}: {len(attribute.ints)} integers")
        del attribute.ints[:]
    for tensor in (*([attribute.t] if attribute.HasField("t") else ()), *attribute.tensors):
        if not _is_small(tensor):
            _left_out(tensor, name, lines)
            empty = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0])
            tensor.CopyFrom(empty)


def _is_small(tensor: onnx.TensorProto) -> bool:
    count = 1
    for dim in tensor.dims:
        count *= dim
    shapes = tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL)
    small = count <= (INTEGERS_KEPT if shapes else OTHERS_KEPT)
    return small and tensor.data_location != onnx.TensorProto.EXTERNAL


def _left_out(
    tensor: onnx.TensorProto, name: str, lines: list[str], dims: list[int] | None = None
) -> onnx.ValueInfoProto:  # fmt: skip
    shape = list(tensor.dims) if dims is None else dims
    lines.append(f"{name}: {onnx.TensorProto.DataType.Name(tensor.data_type)} {shape}, {_zeros(tensor)}")
    return onnx.helper.make_tensor_value_info(name, tensor.data_type, shape)


def _zeros(tensor: onnx.TensorProto) -> str:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return "in another file"
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as error:  # noqa: BLE001 (a damaged tensor may be what the report is about)
        return f"cannot be read: {error}"
    return f"{float((array == 0).mean()):.4f} zeros" if array.size else "empty"
