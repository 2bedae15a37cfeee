"""Winograd's transform of weights, and how they lie: the same bits here and in JavaScript."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GROUP = 32  # output channels for which M is computed before it is transformed back


def transformed(
    weight: NDArray[np.float32], matrix: NDArray[np.float64], height: int, group: int = GROUP
) -> NDArray[np.float32]:
    """``matrix`` u ``matrix``' of every kernel u of ``weight`` (channels, inputs, 3, 3).

    As [positions][blocks][inputs][height] for each group of channels, one behind the other, flat. Sums are of doubles,
    in this order and not by matmul, which may fuse multiply and add: runtimes/web/unpack.mjs does the same.
    """
    channels, inputs = weight.shape[:2]
    u = weight.astype(np.float64)
    left = [row[0] * u[..., 0, :] + row[1] * u[..., 1, :] + row[2] * u[..., 2, :] for row in matrix]
    spread = np.zeros((-(-channels // height) * height, inputs, len(matrix) ** 2), np.float32)
    for i, x in enumerate(left):
        for j, row in enumerate(matrix):
            spread[:channels, :, i * len(matrix) + j] = row[0] * x[..., 0] + row[1] * x[..., 1] + row[2] * x[..., 2]
    parts = [spread[k : k + group] for k in range(0, channels, group)]
    ordered = [p.reshape(-1, height, inputs, p.shape[2]).transpose(3, 0, 2, 1).reshape(-1) for p in parts]
    return np.concatenate(ordered)
