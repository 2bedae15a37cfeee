"""Some times as a few numbers: `Spread`, and how two sets of them compare."""

from __future__ import annotations

import math
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
    """Median of ``after`` over that of ``before``, and its 95% interval by 2,000 bootstrap samples of both.

    All three are NaN where times are so few steps of the clock that a median may be 0.
    """
    random = np.random.default_rng(0)
    one, other = (_resampled_medians(x, random) for x in (before, after))
    if not (one.min() > 0 and other.min() > 0):
        return math.nan, math.nan, math.nan
    low, high = np.percentile(other / one, (2.5, 97.5))
    return float(np.median(np.asarray(after)) / np.median(np.asarray(before))), float(low), float(high)


def _resampled_medians(times: Sequence[float] | Array, random: np.random.Generator) -> Array:
    """Medians of samples with replacement, each as long as ``times``. Only the middle of a sample is drawn, not all of
    it, since there may be a million runs: order statistics of uniform numbers have beta distributions."""
    ordered = np.sort(np.asarray(times, np.float64))
    count = len(ordered)
    low = (count + 1) // 2
    at = random.beta(low, count + 1 - low, RESAMPLED)
    found: Array = ordered[np.minimum((at * count).astype(int), count - 1)]
    if count % 2 == 0:  # the next one is the least of those above it
        at += (1 - at) * random.beta(1, count - low, RESAMPLED)
        found = (found + ordered[np.minimum((at * count).astype(int), count - 1)]) / 2
    return found
