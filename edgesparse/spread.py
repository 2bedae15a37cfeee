"""Some times as a few numbers: `Spread`, and how two sets of them compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgesparse.types import Array

RESAMPLED = 2000


@dataclass(frozen=True, slots=True)
class Spread:
    """Of some times, all of them: nothing is left out. In the unit that they have."""

    count: int
    min: float
    median: float
    mean: float
    p10: float
    p90: float
    max: float
    std: float

    @property
    def width(self) -> float:
        """From the 10th to the 90th percentile, relative to the median."""
        return (self.p90 - self.p10) / self.median if self.median else 0.0


def spread(times: Sequence[float] | Array) -> Spread:
    """Of at least one time; percentiles are the nearest rank, ``std`` is that of the sample (0 of one)."""
    ordered = np.sort(np.asarray(times, np.float64))
    count = len(ordered)
    found = (
        ordered[0], np.median(ordered), ordered.mean(), ordered[-(-count // 10) - 1], ordered[-(-9 * count // 10) - 1],
        ordered[-1], ordered.std(ddof=1) if count > 1 else 0.0,
    )  # fmt: skip
    return Spread(count, *map(float, found))


def plain(value: float) -> str:
    """Four digits, or as many as there are before the point: 0.01235, 123.5, 12346."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def ratio_interval(before: Sequence[float] | Array, after: Sequence[float] | Array) -> tuple[float, float, float]:
    """Median of ``after`` over that of ``before``, and its 95% interval by 2,000 bootstrap samples of both."""
    random = np.random.default_rng(0)
    one, other = np.asarray(before, float), np.asarray(after, float)
    medians = [np.median(random.choice(x, (RESAMPLED, len(x))), axis=1) for x in (one, other)]
    low, high = np.percentile(medians[1] / medians[0], (2.5, 97.5))
    return float(np.median(other) / np.median(one)), float(low), float(high)
