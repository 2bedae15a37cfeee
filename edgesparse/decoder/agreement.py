"""What an ONNX decoder is fed with, and whether it computes what was read of it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from edgesparse.decoder import reference
from edgesparse.decoder.layers import unsupported
from edgesparse.decoder.model import Decoder
from edgesparse.errors import InputError
from edgesparse.types import Array

_PROTO_BYTES = 1_500_000_000
_FIRST, _SECOND = 6, 2  # tokens of the two runs, the second over the cache that the first one left
_TOLERANCE = 1e-3  # of the largest logit


@dataclass(frozen=True, slots=True)
class Inputs:
    """Which inputs of a model are what: ``tokens``, and those that hold the ``past``."""

    tokens: ir.Value
    past: frozenset[str]

    def array(self, value: ir.Value, past: int, tokens: int) -> Array:
        """Zeros for tokens and past, positions as numbers, ones for a mask of padding.

        Raises:
            UnsupportedError: another kind of input.
        """
        kept, dims = value.name in self.past, [] if value.shape is None else list(value.shape)
        dtype = None if value.dtype is None else value.dtype.numpy()
        if dtype is None or value.shape is None or not (kept or (dtype.kind in "biu" and len(dims) < 3)):
            raise unsupported("an input that is neither tokens nor positions nor a cache", f"'{value.name}'")
        dim = None if self.tokens.shape is None else self.tokens.shape[-1]
        same = not dims or dims[-1] == dim
        length = past if kept else tokens if same else past + tokens
        if len(dims) > 1 and not isinstance(dims[0], int):
            dims[0] = 1  # the batch
        shape = [d if isinstance(d, int) else length for d in dims]
        if kept or value.name == self.tokens.name:
            return np.zeros(shape, dtype)
        if not same:
            return np.ones(shape, dtype)
        positions: Array = np.broadcast_to(np.arange(past, past + tokens).astype(dtype), shape).copy()
        return positions


def check_agreement(
    model: ir.Model, decoder: Decoder, inputs: Inputs, logits: str, caches: Sequence[tuple[str, str]]
) -> None:
    """Run ``model`` in onnxruntime, at first and over its own cache, and compare with the reference.

    A graph can be read as something that it is not quite. ``caches``: (input, output) of all keys and values;
    ``logits``: the other output.

    Raises:
        UnsupportedError: it computes other logits than ``decoder``.
        InputError: onnxruntime cannot run it.
    """
    tokens = np.random.default_rng(0).integers(0, decoder.vocabulary, (1, min(_FIRST + _SECOND, decoder.context)))
    wanted = reference.logits(decoder, tokens)
    names = [logits, *(present for _, present in caches)]
    past: dict[str, Array] = {}
    parts = []
    try:
        session = _session(model)
        for start, end in ((0, min(_FIRST, tokens.shape[1])), (_FIRST, tokens.shape[1])):
            if start >= end:
                continue
            feeds = {str(v.name): inputs.array(v, start, end - start) for v in model.graph.inputs}
            feeds[str(inputs.tokens.name)] = tokens[:, start:end].astype(feeds[str(inputs.tokens.name)].dtype)
            found = session.run(names, {**feeds, **past})
            past = {name: value for (name, _), value in zip(caches, found[1:], strict=True)}
            parts.append(np.asarray(found[0], np.float32).reshape(-1, decoder.vocabulary))
    except (RuntimeError, ValueError, TypeError) as error:  # what onnxruntime raises is made of the first
        raise InputError(f"onnxruntime cannot run it: {str(error)[:300]}", where="the decoder") from error
    off = float(np.abs(np.concatenate(parts) - wanted[0]).max())
    if not off <= _TOLERANCE * max(1.0, float(np.abs(wanted).max())):
        raise unsupported(
            f"it computes other logits than a decoder with these weights: {off:.3g} off, where the largest is "
            f"{np.abs(wanted).max():.3g}", "the graph",
        )  # fmt: skip


def as_bytes(model: ir.Model) -> bytes:
    """``model`` with all its weights within it, which it keeps: onnx_ir would close files that others read from."""
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = ir.tensor(value.const_value.numpy(), name=value.name)
    data: bytes = ir.to_proto(model).SerializeToString()
    return data


def _session(model: ir.Model) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    held = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    if held <= _PROTO_BYTES:
        return onnxruntime.InferenceSession(as_bytes(model.clone()), options)
    with tempfile.TemporaryDirectory() as folder:
        ir.save(model, Path(folder, "model.onnx"), external_data="weights")
        return onnxruntime.InferenceSession(str(Path(folder, "model.onnx")), options)
