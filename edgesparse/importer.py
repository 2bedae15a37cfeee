"""An ONNX file -> ir.Model, checked; and back to a file."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgesparse.errors import InputError

OLDEST_OPSET, UPGRADED_OPSET = 11, 13
_log = logging.getLogger(__name__)


def load(path: str | Path, shapes: Mapping[str, Sequence[int]] | None = None) -> ir.Model:
    """Read, check and, where old, upgrade the model at ``path``.

    ``shapes`` binds inputs to static shapes; what it leaves out keeps its symbolic dimensions.
    External data is read only from beneath the model's own folder.

    Raises:
        InputError: not an ONNX file, truncated, cyclic, weights missing or outside of the folder,
            an opset nobody knows yet, or ``shapes`` that do not fit.
    """
    path = Path(path)
    proto = _read(path)
    _check_external(proto, path)
    _check_opset(proto, path)
    try:
        onnx.checker.check_model(proto) if not _has_external(proto) else onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        hint = "the graph has a cycle or is not sorted" if "sorted" in str(error) else "export the model again"
        raise InputError(f"not a valid ONNX model: {first}", where=str(path), hint=hint) from error
    version = _opset(proto)
    if version < OLDEST_OPSET:
        try:
            proto = onnx.version_converter.convert_version(proto, UPGRADED_OPSET)
        except Exception as error:  # the converter raises RuntimeError and plain Exception alike
            raise InputError(
                f"opset {version} could not be upgraded to {UPGRADED_OPSET}: {error}", where=str(path),
                hint=f"export the model with opset {OLDEST_OPSET} or newer",
            ) from error  # fmt: skip
        _log.info("%s: opset %d upgraded to %d", path, version, UPGRADED_OPSET)
    model = ir.from_proto(proto)
    if _has_external(proto):
        ir.external_data.set_base_dir(model.graph, path.absolute().parent)
        ir.external_data.load_to_model(model)
    common.RemoveInitializersFromInputsPass()(model)
    common.InlinePass()(model)
    bind_shapes(model, shapes or {}, where=str(path))
    return model


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise InputError("no such file", where=str(path), hint="check the path")
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError has no public home
        raise InputError(
            "not an ONNX file, or cut short", where=str(path), hint="export or copy the model again"
        ) from error
    if not proto.graph.node and not proto.graph.output:
        raise InputError("not an ONNX file (no graph in it)", where=str(path), hint="export the model again")
    return proto


def _opset(proto: onnx.ModelProto) -> int:
    return next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)


def _check_opset(proto: onnx.ModelProto, path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    if _opset(proto) > newest:
        raise InputError(
            f"opset {_opset(proto)}; the installed onnx knows up to {newest}", where=str(path),
            hint="pip install --upgrade onnx, or export with an older opset",
        )  # fmt: skip


def _external_locations(proto: onnx.ModelProto) -> list[tuple[str, str]]:
    found = []
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            location = next((e.value for e in tensor.external_data if e.key == "location"), "")
            found.append((tensor.name, location))
    return found


def _has_external(proto: onnx.ModelProto) -> bool:
    return bool(_external_locations(proto))


def _check_external(proto: onnx.ModelProto, path: Path) -> None:
    folder = path.absolute().parent.resolve()
    for name, location in _external_locations(proto):
        file = (folder / location).resolve()
        if not location or not file.is_relative_to(folder):
            raise InputError(
                f"weight '{name}' lies outside of the model's folder: {location!r}", where=str(path),
                hint="move the data file beside the model and export again",
            )  # fmt: skip
        if not file.is_file():
            raise InputError(
                f"weights are missing: '{name}' should be in {location!r}", where=str(path),
                hint=f"copy {location} into {folder}",
            )  # fmt: skip


def bind_shapes(model: ir.Model, shapes: Mapping[str, Sequence[int]], *, where: str = "model") -> None:
    """Give inputs static shapes and forget what was inferred from the symbolic ones.

    Raises:
        InputError: an unknown input, or a shape that contradicts the declared one.
    """
    inputs = {v.name: v for v in model.graph.inputs}
    for name, wanted in shapes.items():
        value = inputs.get(name)
        if value is None:
            raise InputError(f"no input named '{name}'", where=where, hint=f"inputs: {', '.join(map(str, inputs))}")
        declared = None if value.shape is None else list(value.shape)
        fits = declared is None or (
            len(declared) == len(wanted)
            and all(not isinstance(d, int) or d == w for d, w in zip(declared, wanted, strict=True))
        )
        if not fits or any(w < 1 for w in wanted):
            raise InputError(
                f"shape {tuple(wanted)} does not fit input '{name}', declared as {tuple(map(_dim, declared or []))}",
                where=where, hint="give every dimension; fixed ones must stay as they are",
            )  # fmt: skip
        value.shape = ir.Shape(wanted)
    if shapes:
        _infer_again(model)


def bind_default_shapes(model: ir.Model) -> list[str]:
    """Bind a symbolic first dimension (the batch) of every input to 1; returns a note for each.

    Raises:
        InputError: another dimension is symbolic.
    """
    notes = []
    for value in model.graph.inputs:
        if value.shape is None:
            raise InputError(f"input '{value.name}' has no shape", hint=f"--shape {value.name}=1,3,224,224")
        dims = list(value.shape)
        if all(isinstance(d, int) for d in dims):
            continue
        if any(not isinstance(d, int) for d in dims[1:]):
            example = ",".join(str(d) if isinstance(d, int) else "1" for d in dims)
            raise InputError(
                f"input '{value.name}' has symbolic dimensions: {tuple(map(_dim, dims))}",
                hint=f"--shape {value.name}={example}",
            )  # fmt: skip
        value.shape = ir.Shape([1, *dims[1:]])
        notes.append(f"input '{value.name}': batch dimension {_dim(dims[0])} bound to 1 (--shape changes it)")
    if notes:
        _infer_again(model)
    return notes


def _dim(dim: object) -> str:
    return str(getattr(dim, "value", dim) or "?")


def _infer_again(model: ir.Model) -> None:
    for node in model.graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    for value in model.graph.outputs:
        if value.shape is not None and any(not isinstance(d, int) for d in value.shape):
            value.shape = None
    common.ShapeInferencePass(strict_mode=False)(model)


def bad_weights(model: ir.Model) -> list[str]:
    """Names of the weights that hold NaN or infinity: a warning, not an error."""
    names = []
    for name, value in model.graph.initializers.items():
        floating = value.const_value is not None and value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)
        if floating and value.const_value is not None and not np.isfinite(value.const_value.numpy()).all():
            names.append(str(name))
    return names


def save(model: ir.Model, path: str | Path) -> None:
    """Write ``model`` to ``path`` through a temporary file: whole or not at all.

    Raises:
        InputError: the model is over 2 GB, or the file cannot be written.
    """
    path = Path(path)
    try:
        data = ir.to_proto(model).SerializeToString()
    except ValueError as error:
        raise InputError("models over 2 GB cannot be saved in one file", where=str(path)) from error
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent, prefix=".edgesparse-", delete=False) as file:
            temporary = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise InputError(
            f"could not be written: {error.strerror or error}", where=str(path), hint="choose another place with -o"
        ) from error
