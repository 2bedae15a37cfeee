"""`sustained`: runs for minutes, since a device that has got warm is slower than in its first second."""

from __future__ import annotations

import statistics
import time
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesparse.errors import InputError
from edgesparse.marks import marks
from edgesparse.runtimes.arrays import Inputs
from edgesparse.runtimes.session import Progress, Session
from edgesparse.spread import Spread, spread
from edgesparse.types import CallTimes

SHORTEST_S = 10
MINUTE_S = 60
ROUND_S = 10  # a call of the program on the device: far below the time limit of one
ROUND_RUNS = 100_000  # and no more runs than this, which are 2 MB of JSON
WARMUP_RUNS = 2


@dataclass(frozen=True, slots=True)
class Round:
    """Runs of one call of the program. ``begin_s`` and ``end_s``: since the first round began.

    ``ghz``: of each watched core the mean of what was read, ``celsius`` of each zone the highest; None where nothing
    was. ``capped`` and ``hot``: how many of the runs are marked, as in `marks.Marks`.
    """

    begin_s: float
    end_s: float
    us: Spread
    ghz: tuple[float | None, ...]
    celsius: tuple[float | None, ...]
    capped: int
    hot: int


@dataclass(frozen=True, slots=True)
class Sustained:
    """Runs for ``seconds``. ``first`` and ``last``: those of its first and last ``window_s`` seconds, a minute; of less
    than two minutes a fifth. Rounds belong to a window as a whole. ``ratio``: how many times as long a run takes at the
    end, by medians.

    ``busy``: the share of the time in which the model ran; between two rounds the program starts anew.
    ``cpus`` and ``zones`` name what ``rounds`` tell of.
    """

    seconds: float
    window_s: float
    first: Spread
    last: Spread
    ratio: float
    busy: float
    cpus: tuple[int, ...]
    zones: tuple[str, ...]
    rounds: tuple[Round, ...]

    def within(self, last: bool) -> tuple[Round, ...]:
        """The rounds of the first or last window."""
        if last:
            return tuple(r for r in self.rounds if r.end_s > self.rounds[-1].end_s - self.window_s + 1e-9)
        return tuple(r for r in self.rounds if r.begin_s < self.window_s)


def check_seconds(seconds: int) -> None:
    """Raises InputError for less than `SHORTEST_S`."""
    if seconds < SHORTEST_S:
        raise InputError(f"cannot tell a change within {seconds} seconds", hint=f"give at least {SHORTEST_S}s")


def sustained(
    session: Session, inputs: Inputs, seconds: int, hot_above: float | None = None,
    on_progress: Progress | None = None, clock: Callable[[], float] = time.monotonic,
) -> Sustained:  # fmt: skip
    """Run for ``seconds``, round after round.

    Of every round a few numbers are kept, and single times only of those that may be in the first or last window: they
    take the same memory whether it is for ten minutes or an hour.

    Raises:
        InputError: less than `SHORTEST_S` seconds, or as `Session.bench`.
        RuntimeFailure: the engine failed.
    """
    check_seconds(seconds)
    window = MINUTE_S if seconds >= 2 * MINUTE_S else seconds / 5
    round_s = max(1, min(ROUND_S, seconds // 10))
    rounds: list[Round] = []
    first: array[float] = array("d")
    recent: deque[tuple[float, array[float]]] = deque()
    ran, facts, warmup_runs, begin = 0.0, {}, WARMUP_RUNS, clock()
    while True:
        before = clock() - begin
        timed = session.time_runs(inputs, ROUND_RUNS, warmup_runs, round_s)
        now, run_us, facts = clock() - begin, array("d", (ns / 1e3 for ns in timed.wall_ns)), dict(timed.facts)
        warmup_runs, ran = 0, ran + sum(run_us) / 1e6
        rounds.append(_round(before, now, run_us, timed, hot_above))
        if before < window:
            first.extend(run_us)
        recent.append((now, run_us))
        while recent[0][0] <= now - window and len(recent) > 1:
            recent.popleft()
        if on_progress is not None:
            on_progress(min(int(now), seconds), seconds)
        if now >= seconds:
            break
    beginning, end = spread(first), spread(np.concatenate([each for _, each in recent]))
    return Sustained(
        now, window, beginning, end, end.median / (beginning.median or 1.0), min(ran / now, 1.0) if now else 1.0,
        tuple(facts.get("watched_cpus", ())), tuple(facts.get("zones", ())), tuple(rounds),
    )  # fmt: skip


def _round(begin_s: float, end_s: float, run_us: Sequence[float], timed: CallTimes, hot_above: float | None) -> Round:
    marked, seen = marks(run_us, timed.facts, hot_above), timed.facts.get("observations", [])
    ghz = _columns(seen, "khz", 1e6, statistics.fmean)
    return Round(
        begin_s, end_s, spread(run_us), ghz, _columns(seen, "millidegrees", 1e3, max), len(marked.capped),
        len(marked.hot),
    )  # fmt: skip


def _columns(
    seen: Sequence[Mapping[str, Any]], name: str, unit: float, of: Callable[[Sequence[float]], float]
) -> tuple[float | None, ...]:
    rows = [one[name] for one in seen]
    columns = [[value / unit for value in column if value != -1] for column in zip(*rows, strict=True)]
    return tuple(of(column) if column else None for column in columns)
