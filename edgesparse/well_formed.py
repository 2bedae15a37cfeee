"""What can be wrong with an ONNX file, found before anything is allocated or believed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from pathlib import Path

import onnx
import onnx_ir as ir

from edgesparse.connected import check_connected, scopes
from edgesparse.errors import InputError
from edgesparse.isolated import IsolatedError, isolated
from edgesparse.passes.infer_shapes import any_ceil, infer_ceil, without_ceil

_TAGS = re.compile(r"\[\w+Error\] |Inference error\(s\): ")
_SMALL_BYTES = 1000
_ELSEWHERE = "edgesparse.elsewhere"  # a domain that no checker knows
# Values in a TensorProto that is not raw: field, and how many of its entries make an element.
_FIELDS: dict[int, tuple[str, int]] = {
    onnx.TensorProto.FLOAT: ("float_data", 1), onnx.TensorProto.COMPLEX64: ("float_data", 2),
    onnx.TensorProto.DOUBLE: ("double_data", 1), onnx.TensorProto.COMPLEX128: ("double_data", 2),
    onnx.TensorProto.INT64: ("int64_data", 1), onnx.TensorProto.UINT64: ("uint64_data", 1),
    onnx.TensorProto.UINT32: ("uint64_data", 1), onnx.TensorProto.STRING: ("string_data", 1),
}  # fmt: skip


def check_well_formed(proto: onnx.ModelProto, path: Path) -> None:
    """Everything that a file alone can tell: opset, weights, operators, cycles, ONNX's own checker.

    Raises:
        InputError: the first thing that is wrong, with the node or weight.
    """
    _check_opset(proto, path)
    _check_tensors(proto, path)
    _check_operators(proto, path)
    check_connected(proto, path)
    try:
        onnx.checker.check_model(_checkable(proto))
    except Exception as error:  # ValidationError, ValueError, UnicodeDecodeError: all of them about the file
        text = " ".join(str(error).replace("==> Context:", ";").split()) or repr(error)
        raise InputError(f"not a valid ONNX model: {text[:300]}", where=str(path), hint="export it again") from error


def _check_operators(proto: onnx.ModelProto, path: Path) -> None:
    """Operators that are younger than the opset of the file. Unknown ones are left to `lower`, which lists all."""
    version, newest = opset(proto), onnx.defs.onnx_opset_version()
    for scope in scopes(proto):
        for node in scope.node:
            if not _is_unknown(node, version) or not onnx.defs.has(node.op_type, newest, ""):
                continue
            since = min(s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == node.op_type)
            raise InputError(
                f"{node.op_type} '{node.name}' does not exist in opset {version}, but since {since}", where=str(path),
                hint=f"export the model with opset {since} or newer",
            )  # fmt: skip


def _is_unknown(node: onnx.NodeProto, version: int) -> bool:
    try:
        return node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type, version, "")
    except TypeError:  # a name that is no UTF-8: ONNX's checker says so
        return False


def _checkable(proto: onnx.ModelProto) -> onnx.ModelProto:
    """``proto``, or a copy without what ONNX's checker refuses and we do not.

    These are unknown operators, inputs and outputs without a shape, and external data, which is checked before and
    does not fit into a proto.
    """
    version = opset(proto)
    own = {(f.domain, f.name) for f in proto.functions}
    unknown = any(_is_unknown(n, version) and (n.domain, n.op_type) not in own for s in scopes(proto) for n in s.node)
    shapeless = any(not _has_shape(value) for value in (*proto.graph.input, *proto.graph.output))
    if not unknown and not shapeless and not has_external(proto):
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for scope in scopes(copy):
        for node in scope.node:
            if _is_unknown(node, version):
                node.domain = _ELSEWHERE
    copy.opset_import.add(domain=_ELSEWHERE, version=1)
    for value in (*copy.graph.input, *copy.graph.output):
        if not _has_shape(value):
            dtype = value.type.tensor_type.elem_type or onnx.TensorProto.FLOAT
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, dtype, []))
    for tensor in _tensors(copy):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            name, dtype = tensor.name, tensor.data_type
            tensor.CopyFrom(onnx.TensorProto(name=name, data_type=dtype, dims=[0]))
    return copy


def _has_shape(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.WhichOneof("value")
    return kind is not None and (kind != "tensor_type" or value.type.tensor_type.HasField("shape"))


def check_shapes(model: ir.Model, where: str) -> None:
    """Shapes and types of all nodes fit each other and what the file declares.

    Raises:
        InputError: names the first node where they do not.
    """
    try:
        light = _without_weights(model)
        ir.to_proto(light).SerializeToString()
    except Exception as error:  # SerdeError: a name or number that no proto holds
        raise InputError(f"not a valid ONNX model: {error.__cause__ or error}", where=where) from error

    def infer() -> bytes:
        # no data_prop: it allocates what a shape in the file asks for
        if any_ceil(light):
            infer_ceil(light)
        with without_ceil(light):
            proto = ir.to_proto(light)
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=False)
        return b""

    try:
        isolated(infer)  # onnx 1.23 dies of an `axis` or `num_outputs` out of range
    except IsolatedError as error:
        text = " ".join(_TAGS.sub("", str(error)).split())
        raise InputError(
            f"shapes or types do not fit: {text[:300]}", where=where,
            hint="the file is damaged, or --shape does not suit the model",
        ) from error  # fmt: skip


def has_external(proto: onnx.ModelProto) -> bool:
    return any(t.data_location == onnx.TensorProto.EXTERNAL for t in _tensors(proto))


def _without_weights(model: ir.Model) -> ir.Model:
    """A small copy of ``model``: large weights are inputs, whose values no shape depends on."""
    light = model.clone()
    for value in list(light.graph.initializers.values()):
        tensor = value.const_value
        if tensor is not None and tensor.nbytes > _SMALL_BYTES:
            value.shape, value.dtype, value.const_value = ir.Shape(tensor.numpy().shape), tensor.dtype, None
            del light.graph.initializers[value.name or ""]
            light.graph.inputs.append(value)
    return light


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All weights: initializers and the values of attributes, in functions and subgraphs, too."""
    for scope in scopes(proto):
        if isinstance(scope, onnx.GraphProto):
            yield from scope.initializer
        for node in scope.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _check_opset(proto: onnx.ModelProto, path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    version = opset(proto)
    if version > newest:
        raise InputError(
            f"opset {version}; the installed onnx knows up to {newest}", where=str(path),
            hint="pip install --upgrade onnx, or export with an older opset",
        )  # fmt: skip
    if proto.ir_version > onnx.IR_VERSION:
        raise InputError(
            f"IR version {proto.ir_version}; the installed onnx knows up to {onnx.IR_VERSION}", where=str(path),
            hint="pip install --upgrade onnx",
        )  # fmt: skip


def opset(proto: onnx.ModelProto) -> int:
    """The version of ONNX's own operators; 0 where the file does not say."""
    return next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)


def _check_tensors(proto: onnx.ModelProto, path: Path) -> None:
    for scope in scopes(proto):
        if isinstance(scope, onnx.GraphProto) and scope.sparse_initializer:
            raise InputError(
                f"weight '{scope.sparse_initializer[0].values.name}' is a sparse_initializer", where=str(path),
                hint="store it dense; zeros are found by themselves",
            )  # fmt: skip
    folder = path.absolute().parent.resolve()
    for tensor in _tensors(proto):
        name = tensor.name or "(a constant)"
        if tensor.data_type not in onnx.TensorProto.DataType.values() or tensor.data_type == 0:
            raise InputError(f"weight '{name}' has the unknown type {tensor.data_type}", where=str(path))
        if any(d < 0 for d in tensor.dims):
            raise InputError(f"weight '{name}' has a negative dimension: {list(tensor.dims)}", where=str(path))
        external = tensor.data_location == onnx.TensorProto.EXTERNAL
        held = _external_bytes(tensor, folder, path) if external else _held(tensor)
        wanted = _wanted(tensor, external or tensor.HasField("raw_data"))
        if held != wanted and (external or wanted > 0 or held > 0):
            unit = "bytes" if external or tensor.HasField("raw_data") else "values"
            raise InputError(
                f"weight '{name}' has {held} {unit}, its shape {list(tensor.dims)} needs {wanted}", where=str(path),
                hint="the file is damaged or cut short: copy or export it again",
            )  # fmt: skip


def _wanted(tensor: onnx.TensorProto, raw: bool) -> int:
    """Bytes of a raw tensor, else entries of its typed field."""
    size = int(prod(tensor.dims))
    bits = int(ir.DataType(tensor.data_type).bitwidth) if tensor.data_type != onnx.TensorProto.STRING else 0
    if raw:
        return -(-size * bits // 8)
    if tensor.data_type in _FIELDS:
        return size * _FIELDS[tensor.data_type][1]
    return -(-size * bits // 8) if bits < 8 else size


def _held(tensor: onnx.TensorProto) -> int:
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    return len(getattr(tensor, _FIELDS.get(tensor.data_type, ("int32_data", 1))[0]))


def _external_bytes(tensor: onnx.TensorProto, folder: Path, path: Path) -> int:
    """How many bytes of a data file beneath ``folder`` belong to ``tensor``."""
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    file = (folder / location).resolve() if "\0" not in location else folder
    if not location or not file.is_relative_to(folder) or file == folder:
        raise InputError(
            f"weight '{tensor.name}' lies outside of the model's folder: {location!r}", where=str(path),
            hint="move the data file beside the model and export again",
        )  # fmt: skip
    if not file.is_file():
        raise InputError(
            f"weights are missing: '{tensor.name}' should be in {location!r}", where=str(path),
            hint=f"copy {location} into {folder}",
        )  # fmt: skip
    total = file.stat().st_size
    begin, length = entries.get("offset", "0"), entries.get("length", "")
    if not begin.isdecimal() or not (length.isdecimal() or not length) or int(begin) > total:
        raise InputError(
            f"weight '{tensor.name}' has offset {begin!r} and length {length!r} in {location!r} of {total} bytes",
            where=str(path), hint=f"copy {location} again, or export the model again",
        )  # fmt: skip
    available = total - int(begin)
    return min(int(length), available) if length else available
