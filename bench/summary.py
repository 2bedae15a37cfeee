"""Medians with their range."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """Of ``count`` inferences, in milliseconds."""

    median_ms: float
    min_ms: float
    max_ms: float
    count: int


def summarise(times_ns: Sequence[int]) -> Summary:
    """Of times in nanoseconds; at least one. Rounded to 0.1 µs, which is below the noise of any clock here."""
    if not times_ns:
        raise ValueError("no times to summarise")
    median, low, high = (round(t / 1e6, 4) for t in (statistics.median(times_ns), min(times_ns), max(times_ns)))
    return Summary(median, low, high, count=len(times_ns))
