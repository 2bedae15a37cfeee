"""What no model needs, and `calibrate` does: how fast a core computes and reads at most. No ONNX operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgesparse.ops.operator import Contract, register
from edgesparse.types import Array, Attr, TensorSpec

MACS_PER_ROUND = 384
"""Multiply-adds of probe_fma_f32 for each of its ``rounds``, on every instruction set."""
READ_MULTIPLE = 512
"""probe_read_f32 reads a multiple of so many floats."""


def reference_fma(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    """Where ``s = factor * s + term`` ends, once it has been done often enough (32 ``rounds`` with factor 0.5)."""
    factor, term = inputs[0].astype(np.float64)
    return [np.full(outputs[0].shape, term / (1 - factor), np.float32)]


def reference_read(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    floats, rounds = int(attrs["floats"]), int(attrs["rounds"])  # type: ignore[arg-type]
    total = rounds * inputs[0].reshape(-1)[:floats].astype(np.float64).sum()
    return [np.full(outputs[0].shape, total, np.float32)]


register(
    Contract("probe_fma", ("x",), ("y",), reference_fma),
    Contract("probe_read", ("x",), ("y",), reference_read),
)
