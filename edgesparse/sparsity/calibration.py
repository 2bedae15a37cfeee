"""Samples to calibrate with: checked against a model, and what its inner values are on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgesparse.errors import InputError
from edgesparse.types import Array

BATCH = 32
"""Samples that run at once where the model's batch is free."""

Samples = Mapping[str, Array]


def check_samples(model: ir.Model, given: Samples | Iterable[Samples]) -> dict[str, Array]:
    """One array per input of ``model``, samples stacked on axis 0, from a mapping or an iterator of batches.

    Raises:
        InputError: other names than the model's inputs, arrays that do not fit them or each other, no samples,
            or NaN or infinity in one.
    """
    inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    names = [v.name or "" for v in inputs]
    hint = f"one array for each of {', '.join(names)}, samples stacked on axis 0"
    arrays = _joined(given, hint)
    if set(arrays) != set(names):
        raise InputError(
            f"calibration holds {', '.join(arrays) or 'nothing'}; the inputs of the model are {', '.join(names)}",
            hint=hint,
        )
    for value in inputs:
        array = arrays[value.name or ""]
        where = f"calibration '{value.name}'"
        wanted = [d if isinstance(d, int) else str(d) for d in value.shape or ()]
        fits = array.ndim == len(wanted) and all(
            not isinstance(w, int) or w == n for w, n in zip(wanted[1:], array.shape[1:], strict=True)
        )
        if not fits:
            shown = ", ".join(map(str, ["n", *wanted[1:]]))
            raise InputError(f"shape {list(array.shape)} is not [{shown}]", where=where, hint=hint)
        dtype = None if value.dtype is None else value.dtype.numpy()
        if array.dtype.kind not in "fiub" or (array.dtype.kind == "f" and dtype is not None and dtype.kind != "f"):
            raise InputError(f"{array.dtype} numbers, but the model reads {dtype}", where=where, hint=hint)
        if not np.isfinite(array).all():
            bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
            raise InputError(
                f"NaN or infinity in {len(bad)} of {len(array)} samples, the first is number {bad[0]}", where=where,
                hint="remove these samples",
            )  # fmt: skip
    counts = {len(a) for a in arrays.values()}
    if len(counts) > 1:
        raise InputError(f"different numbers of samples: {sorted(counts)}", where="calibration", hint=hint)
    if counts == {0}:
        raise InputError("no samples", where="calibration", hint=hint)
    return {
        v.name or "": arrays[v.name or ""].astype(v.dtype.numpy() if v.dtype is not None else np.float32, copy=False)
        for v in inputs
    }


def _joined(given: Samples | Iterable[Samples], hint: str) -> dict[str, Array]:
    if isinstance(given, Mapping):
        return {name: np.asarray(array) for name, array in given.items()}
    batches = list(given)
    if not batches or not all(isinstance(b, Mapping) and set(b) == set(batches[0]) for b in batches):
        raise InputError("calibration is no mapping of arrays, nor an iterator of such mappings", hint=hint)
    try:
        return {name: np.concatenate([np.asarray(b[name]) for b in batches]) for name in batches[0]}
    except ValueError as error:
        raise InputError(f"the batches do not fit each other: {error}", where="calibration", hint=hint) from error


def inner_values(model: ir.Model, values: Sequence[ir.Value], samples: Samples) -> Iterator[tuple[Array, ...]]:
    """What ``values`` of ``model`` are on ``samples``, as onnxruntime computes them, batch after batch.

    Raises:
        InputError: onnxruntime cannot run the model.
    """
    import onnxruntime as ort

    options, quiet = ort.SessionOptions(), ort.RunOptions()
    options.log_severity_level = quiet.log_severity_level = 4  # errors are raised; it need not print them, too
    given = {v.name for v in model.graph.inputs}
    names = [v.name or "" for v in values]
    wanted = [name for name in dict.fromkeys(names) if name not in given]
    try:
        part = (
            ort.InferenceSession(_part(model, wanted), options, providers=["CPUExecutionProvider"]) if wanted else None
        )
        fixed = _fixed_batch(model)
        for feed, missing in _batches(samples, fixed):
            found = dict(feed)
            if part is not None:
                inputs = {i.name: feed[i.name] for i in part.get_inputs()}
                found.update(zip(wanted, part.run(wanted, inputs, quiet), strict=True))
            yield tuple(found[name][: len(found[name]) - missing] for name in names)
    except Exception as error:  # onnxruntime's exceptions have no other base class
        raise InputError(
            f"onnxruntime cannot run the model on the calibration samples: {str(error).splitlines()[0]}",
            where=model.graph.name or "model", hint="`edgesparse inspect` shows its inputs",
        ) from error  # fmt: skip


def _part(model: ir.Model, names: Sequence[str]) -> bytes:
    """The part of ``model`` that computes the values called ``names``, as an ONNX file."""
    part = model.clone()
    by_name = {v.name: v for node in part.graph for v in node.outputs}
    part.graph.outputs.clear()
    part.graph.outputs.extend(by_name[name] for name in names)
    common.RemoveUnusedNodesPass()(part)
    for value in list(part.graph.inputs):
        if not value.uses():
            part.graph.inputs.remove(value)
    return bytes(ir.to_proto(part).SerializeToString())


def _fixed_batch(model: ir.Model) -> int | None:
    """How many samples the model takes at once, where it says so."""
    firsts = [v.shape[0] for v in model.graph.inputs if v.shape is not None and len(v.shape)]
    return next((d for d in firsts if isinstance(d, int)), None)


def _batches(samples: Samples, fixed: int | None) -> Iterator[tuple[dict[str, Array], int]]:
    """(inputs of one run, how many of its samples only fill the batch up)."""
    count, size = len(next(iter(samples.values()))), fixed or BATCH
    for at in range(0, count, size):
        stop = at + size if fixed else min(at + size, count)
        rows = np.minimum(np.arange(at, stop), count - 1)
        yield {name: array[rows] for name, array in samples.items()}, max(0, stop - count)
