"""Where a curve of accuracy over sparsity breaks.

"The Emergence of Essential Sparsity in Large Pre-trained Models: The Weights that Matter": up to some sparsity,
one-shot pruning costs next to nothing; beyond, accuracy drops sharply.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LOSS = 0.01


def non_increasing(values: Sequence[float]) -> NDArray[np.float64]:
    """The non-increasing sequence with the least sum of squared distances: pool adjacent violators."""
    means: list[float] = []
    counts: list[int] = []
    for value in values:
        means.append(float(value))
        counts.append(1)
        while len(means) > 1 and means[-2] < means[-1]:
            count = counts[-2] + counts[-1]
            means[-2:] = [(means[-2] * counts[-2] + means[-1] * counts[-1]) / count]
            counts[-2:] = [count]
    return np.repeat(means, counts)


def knee(sparsities: Sequence[float], values: Sequence[float]) -> float | None:
    """The sparsity at the largest distance from the chord between both ends, after `non_increasing`.

    Only points above the chord count, for those have lost little yet. None where no point is above it: the curve is
    straight, or it drops at once. ``sparsities`` rise, at least 3 of them.
    """
    s, m = np.asarray(sparsities, np.float64), non_increasing(values)
    if len(s) < 3 or m[0] == m[-1]:
        return None
    along, down = (s - s[0]) / (s[-1] - s[0]), (m[0] - m) / (m[0] - m[-1])
    above = along - down  # the distance, times the square root of 2
    best = int(np.argmax(above))
    return float(s[best]) if above[best] > 1e-9 else None


def within_loss(sparsities: Sequence[float], values: Sequence[float], loss: float = LOSS) -> float:
    """The largest sparsity at which ``values``, made non-increasing, are at least ``1 - loss`` of the first of them.

    The first value is that of sparsity 0. Smoothing keeps one lucky sample from moving the point.
    """
    smooth = non_increasing(values)
    smooth[0] = values[0]
    good = np.flatnonzero(smooth >= (1 - loss) * values[0] - 1e-12)
    return float(sparsities[int(good[-1])]) if len(good) else 0.0
