"""How two sets of times compare that were measured in several starts of a program each.

Where the memory of a program lies is drawn anew whenever it starts, and caches make some draws faster than others: the
same bundle, started twice, may differ by several percent while its runs agree to a thousandth. What counts for an
interval is therefore how starts differ.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edgesparse.spread import ratio_interval

LEAST = 3
"""With fewer starts of one of the two, the interval is that of runs, and says nothing of other starts."""
# Student's t, 97.5%, by degrees of freedom
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086,
)  # fmt: skip
Starts = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Compared:
    """``ratio``: the time of the second over that of the first, with the ends of its 95% interval; all NaN where times
    are less than a step of the clock. ``starts`` of each; ``over_starts``: whether the interval is of these."""

    ratio: float
    low: float
    high: float
    starts: tuple[int, int]
    over_starts: bool

    @property
    def known(self) -> bool:
        return not math.isnan(self.ratio)


def compared(before: Starts, after: Starts, *, in_turns: bool = False) -> Compared:
    """By the medians of starts, in logarithms: Welch's t interval, of pairs where both were started ``in_turns``.

    With fewer than `LEAST` starts, the ratio of the medians of all runs and its bootstrap interval.
    """
    count = len(before), len(after)
    one, other = ([statistics.median(start) for start in starts] for starts in (before, after))
    if min(count) < LEAST:
        found = ratio_interval(*([us for start in starts for us in start] for starts in (before, after)))
        return Compared(*found, count, False)
    if min(*one, *other) <= 0:
        return Compared(math.nan, math.nan, math.nan, count, True)
    logs = [[math.log(us) for us in medians] for medians in (one, other)]
    if in_turns and count[0] == count[1]:
        differences = [b - a for a, b in zip(*logs, strict=True)]
        middle, freedom = statistics.fmean(differences), count[0] - 1.0
        error = statistics.stdev(differences) / math.sqrt(count[0])
    else:
        middle = statistics.fmean(logs[1]) - statistics.fmean(logs[0])
        parts = [statistics.variance(each) / len(each) for each in logs]
        error = math.sqrt(sum(parts))
        squares = sum(part**2 / (n - 1) for part, n in zip(parts, count, strict=True))
        freedom = sum(parts) ** 2 / squares if squares else float(min(count) - 1)
    half = _T[min(max(int(freedom), 1), len(_T)) - 1] * error
    return Compared(math.exp(middle), math.exp(middle - half), math.exp(middle + half), count, True)
