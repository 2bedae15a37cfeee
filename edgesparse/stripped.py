"""An ONNX model without its weights: what may be sent to others where a model may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import numpy_helper

INTEGERS_KEPT = 1024
"""Shapes, axes, indices and zero points say what a graph does; longer ones are tables that somebody learned."""
FLOATS_KEPT = 5
"""Bounds of Clip, scales of Resize."""
LEFT_OUT = "edgesparse.left_out"


def stripped(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """A copy in which weights have become inputs of the same type and shape, and a line for each: name, type, shape,
    share of zeros. Documentation and metadata are left out, too; names are not.

    Weights that are constants of a subgraph, or in another file, become inputs of the model like the others.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    lines: list[str] = []
    weights = list(_strip(copy.graph, lines))
    have = {value.name for value in copy.graph.input}
    copy.graph.input.extend(value for value in weights if value.name not in have)
    del copy.metadata_props[:]
    copy.doc_string = ""
    for function in copy.functions:
        function.doc_string = ""
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
        if _is_small(tensor):
            kept.append(tensor)
        else:
            yield _left_out(tensor, tensor.name, lines)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for sparse in graph.sparse_initializer:
        yield _left_out(sparse.values, sparse.values.name, lines, list(sparse.dims))
    del graph.sparse_initializer[:]
    nodes = []
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
        constant = next((a.t for a in node.attribute if a.HasField("t")), None)
        if node.op_type == "Constant" and constant is not None and not _is_small(constant):
            yield _left_out(constant, node.output[0], lines)
            continue
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") or attribute.graphs else ():
                yield from _strip(inner, lines)
            if len(attribute.floats) > INTEGERS_KEPT:
                lines.append(f"{node.name or node.op_type}.{attribute.name}: {len(attribute.floats)} floats")
                del attribute.floats[:]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _is_small(tensor: onnx.TensorProto) -> bool:
    count = 1
    for dim in tensor.dims:
        count *= dim
    floats = tensor.data_type in (
        onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16,
    )  # fmt: skip
    small = count <= (FLOATS_KEPT if floats else INTEGERS_KEPT)
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
