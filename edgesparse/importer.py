"""An ONNX file -> ir.Model, checked; and back to a file."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgesparse.errors import InputError
from edgesparse.isolated import IsolatedError, isolated
from edgesparse.passes.infer_shapes import any_ceil, infer_ceil, infer_shapes
from edgesparse.well_formed import check_shapes, check_well_formed, has_external, opset
from edgesparse.workspace import workspace

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
    check_well_formed(proto, path)
    version = opset(proto)
    if version < OLDEST_OPSET:
        if has_external(proto):  # the converter would lose it
            onnx.load_external_data_for_model(proto, str(path.absolute().parent))
        old = proto
        try:
            proto = onnx.ModelProto.FromString(
                isolated(lambda: onnx.version_converter.convert_version(old, UPGRADED_OPSET).SerializeToString())
            )
        except IsolatedError as error:
            raise InputError(
                f"opset {version} could not be upgraded to {UPGRADED_OPSET}: {error}", where=str(path),
                hint=f"export the model with opset {OLDEST_OPSET} or newer",
            ) from error  # fmt: skip
        _log.info("%s: opset %d upgraded to %d", path, version, UPGRADED_OPSET)
    try:
        model = ir.from_proto(proto)
    except Exception as error:  # SerdeError; its cause says what it is
        raise InputError(
            f"not a valid ONNX model: {error}: {error.__cause__ or ''}", where=str(path), hint="export the model again"
        ) from error
    if has_external(proto):
        ir.external_data.set_base_dir(model.graph, path.absolute().parent)
        ir.external_data.load_to_model(model)
    common.RemoveInitializersFromInputsPass()(model)
    common.InlinePass()(model)
    bind_shapes(model, shapes or {}, where=str(path))
    check_shapes(model, str(path))
    if any_ceil(model):
        infer_ceil(model)
    if any(value.shape is None or value.type is None for value in model.graph.outputs):
        infer_shapes(model)
    return model


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is no regular file" if path.exists() else "no such file"
        raise InputError(what, where=str(path), hint="give the path of an ONNX file")
    try:
        if path.stat().st_size == 0:
            raise InputError("the file is empty", where=str(path), hint="export or copy the model again")
        proto = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    except InputError:
        raise
    except Exception as error:  # protobuf's DecodeError has no public home
        raise InputError(
            "not an ONNX file, or cut short", where=str(path), hint="export or copy the model again"
        ) from error
    if not proto.graph.node and not proto.graph.output:
        raise InputError("not an ONNX file (no graph in it)", where=str(path), hint="export the model again")
    return proto


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
        InputError: another dimension is symbolic, as those of language models are.
    """
    from edgesparse.decoder.onnx_model import is_decoder  # reads files by this module

    notes = []
    for value in model.graph.inputs:
        if value.shape is None:
            raise InputError(f"input '{value.name}' has no shape", hint=f"--shape {value.name}=1,3,224,224")
        dims = list(value.shape)
        if all(isinstance(d, int) for d in dims):
            continue
        if any(not isinstance(d, int) for d in dims[1:]):
            if is_decoder(model):
                raise InputError(
                    "the model is a language model, which this command does not know",
                    hint="edgesparse compile makes a bundle; generate, evaluate --perplexity and explain take that",
                )
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
    infer_shapes(model)


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
    try:
        with workspace(path.absolute().parent) as scratch:
            with open(scratch / "model", "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(file.name, path)
    except OSError as error:
        raise InputError(
            f"could not be written: {error.strerror or error}", where=str(path), hint="choose another place with -o"
        ) from error
