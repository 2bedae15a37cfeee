"""`Marks`: the timed runs that a slowed down or hot device made. They are counted and shown; none is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from edgesparse.spread import Spread, spread
from edgesparse.thermal import LEAST, MOST, watched


@dataclass(frozen=True, slots=True)
class Marks:
    """Numbers of timed runs, from 0. A run is marked by what was read last before it.

    ``capped``: the clock of a watched core was limited below its maximum. ``hot``: one of ``zones`` was above
    ``hot_above`` degrees Celsius, which is None where the device tells no temperature. ``unmarked``: microseconds of
    the other runs; None where no run is marked, or all are.
    """

    capped: tuple[int, ...] = ()
    hot: tuple[int, ...] = ()
    hot_above: float | None = None
    zones: tuple[str, ...] = ()
    unmarked: Spread | None = None

    @property
    def runs(self) -> tuple[int, ...]:
        return tuple(sorted({*self.capped, *self.hot}))


def marks(run_us: Sequence[float], facts: Mapping[str, Any], hot_above: float | None = None) -> Marks:
    """Of runs that took ``run_us``; ``facts`` as in `profile.Profile`. ``hot_above``: unless given, see `thermal`."""
    zones = facts.get("zones", [])
    positions, usual = watched(zones)
    limit = usual if hot_above is None else hot_above
    capped, hot = capped_runs(facts), hot_runs(facts, positions, limit)
    marked = {*capped, *hot}
    others = [us for number, us in enumerate(run_us) if number not in marked]
    return Marks(
        tuple(capped), tuple(hot), limit if positions else None, tuple(zones[i] for i in positions),
        spread(others) if marked and others else None,
    )  # fmt: skip


def capped_runs(facts: Mapping[str, Any]) -> list[int]:
    """Numbers of the timed runs before which a watched core's clock was limited below its maximum."""
    found: list[int] = []
    for one, following in pairwise(facts.get("observations", [])):  # the last is after the last run
        limits = zip(one["limit_khz"], facts["most_khz"], strict=True)
        if any(0 < limit < most for limit, most in limits):
            found += range(one["run"], following["run"])
    return sorted(set(found))


def hot_runs(facts: Mapping[str, Any], positions: Sequence[int], limit: float) -> list[int]:
    """Numbers of the timed runs before which a zone at one of ``positions`` was above ``limit`` degrees Celsius."""
    found: list[int] = []
    for one, following in pairwise(facts.get("observations", [])):
        degrees = [one["millidegrees"][i] / 1e3 for i in positions]
        if any(limit < each and LEAST <= each <= MOST for each in degrees):
            found += range(one["run"], following["run"])
    return sorted(set(found))
