"""What a layer reads at one token: the active inputs as a list, and numbers of 8 bits in groups. No ONNX operator.

Skipping inputs by magnitude is that of "Training-Free Activation Sparsity in Large Language Models" (TEAL).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesparse.ops.operator import Contract, register
from edgesparse.types import Array, Attr, TensorSpec

GROUP = 32
"""Entries that share a scale; lists are padded to a multiple of it."""


def in_groups(count: int) -> int:
    """``count`` rounded up to whole groups."""
    return -(-count // GROUP) * GROUP


def select(x: Array, threshold: Array) -> tuple[NDArray[np.int32], NDArray[np.float32], int]:
    """(index, value, count) of the ``x[i]`` with ``|x[i]| > threshold[i]``; zeros up to whole groups behind them."""
    kept = np.flatnonzero(np.abs(x) > threshold)
    index, value = np.zeros(in_groups(x.size), np.int32), np.zeros(in_groups(x.size), np.float32)
    index[: kept.size], value[: kept.size] = kept, x[kept]
    return index, value, kept.size


def quantise(value: Array) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32]]:
    """(q, scale, sum of q) in groups: ``scale = max |value| / 127``, ``q = value / scale`` to the nearest, ties even.

    Zeros fill the last group. ``value``: (..., count); the results are (..., whole groups) and (..., groups) twice.
    """
    room = in_groups(value.shape[-1])
    padded = np.zeros((*value.shape[:-1], room), np.float32)
    padded[..., : value.shape[-1]] = value
    groups = padded.reshape(*value.shape[:-1], room // GROUP, GROUP)
    scale = (np.abs(groups).max(axis=-1) / np.float32(127)).astype(np.float32)
    divisor = np.where(scale > 0, scale, np.float32(1))[..., None]
    q = np.clip(np.rint(groups / divisor), -127, 127) * (scale > 0)[..., None]
    q = q.astype(np.int8)
    return q.reshape(padded.shape), scale, q.sum(axis=-1, dtype=np.int32)


def reference_select(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    x, threshold = inputs
    index, value, count = select(x, threshold if attrs["per_channel"] else threshold[:1])
    return [index, value, np.array([count], np.int32)]


def reference_quantise(inputs: Sequence[Array], attrs: Mapping[str, Any], outputs: Sequence[TensorSpec]) -> list[Array]:
    return list(quantise(inputs[0][: attrs["count"]]))


register(
    Contract("select", ("x", "threshold"), ("index", "value", "count"), reference_select),
    Contract("quantise", ("value",), ("q", "scale", "sum"), reference_quantise),
)
