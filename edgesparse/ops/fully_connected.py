"""Gemm and MatMul with a constant right-hand side: the sparse and dense fully connected layer.

Each row of the activation is one image of a 1x1 plane, so this is ``spmm`` on single pixels, which
runs as ``spmv``: weights are read once, at memory bandwidth.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from edgesparse.ops.activation import epilogue
from edgesparse.ops.conv import spmm
from edgesparse.ops.operator import Lowering
from edgesparse.types import Node


def _bias_index(node: Node) -> int | None:
    if node.op_type == "Gemm":  # with beta 0 the bias may hold anything
        return 2 if node.input(2) is not None and node.attrs.get("beta", 1.0) != 0 else None
    found = node.attrs.get("es_bias_input")
    return None if found is None else int(found)


def claims(node: Node) -> bool:
    """True when the right-hand side is a constant matrix and the bias a constant row."""
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None and b is not None
    if node.constant(1) is None or node.constant(0) is not None or len(b.shape) != 2 or a.dtype != "f32":
        return False
    if prod(a.shape) == 0 or prod(b.shape) == 0:
        return False
    if node.op_type == "Gemm" and node.attrs.get("transA", 0) and a.shape[1] != 1:
        return False
    index = _bias_index(node)
    if index is None:
        return True
    bias, spec = node.constant(index), node.input(index)
    width = node.outputs[0].shape[-1]
    return bias is not None and spec is not None and prod(spec.shape[:-1]) == 1 and bias.size in (1, width)


def lower(node: Node, out: Lowering) -> None:
    """Emit one ``spmm`` call of (N, K) weights. Call only when ``claims(node)``."""
    a, weight = node.inputs[0], node.constant(1)
    assert a is not None and weight is not None
    matrix: NDArray[np.float32] = weight.astype(np.float32)
    if not (node.op_type == "Gemm" and node.attrs.get("transB", 0)):
        matrix = matrix.T
    with np.errstate(invalid="ignore"):  # weights may hold NaN and infinity
        matrix = matrix * np.float32(node.attrs.get("alpha", 1.0))
    index = _bias_index(node)
    bias = None if index is None else node.constant(index)
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1), matrix.shape[0]).astype(np.float32)
        bias = bias * np.float32(node.attrs.get("beta", 1.0))
    act, lo, hi = epilogue(node)
    slope_at = node.attrs.get("es_slope_input")
    slope = None if slope_at is None else node.constant(int(slope_at))
    inputs = matrix.shape[1]
    spmm(
        node, out, a.name, node.outputs[0].name, matrix[:, :, None], bias, slope, None,
        images=prod(a.shape) // inputs, x_plane=1, direct=False, tap=(0,), pitch=1, rows=1, columns=1,
        in_channels=inputs, extra={"act": act, "lo": lo, "hi": hi},
    )  # fmt: skip
