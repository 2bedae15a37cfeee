"""Sustained runs: the first window beside the last, on a clock that the test turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from edgesparse.errors import InputError
from edgesparse.runtimes.session import Session
from edgesparse.spread import spread
from edgesparse.sustained import MINUTE_S, ROUND_RUNS, ROUND_S, sustained
from edgesparse.types import CallTimes
from tests.stages.conftest import Call
from tests.stages.profiled import DIGITS


class Slowing:
    """A session whose runs take a millisecond at first, and a microsecond longer with every second that passes. Half
    a second passes before each round."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.asked: list[tuple[int, int, int]] = []

    def us(self) -> float:
        return 1000 + self.seconds

    def time_runs(self, inputs: Any, num_runs: int, warmup_runs: int, max_secs: int) -> CallTimes:
        self.asked.append((num_runs, warmup_runs, max_secs))
        degrees = round(1000 * (30 + self.seconds / 10))
        wall_ns = tuple(round(1000 * self.us()) for _ in range(10))
        one = {"khz": [1_500_000], "limit_khz": [2_000_000], "millidegrees": [degrees, -1], "at_ns": 0}
        self.seconds += max_secs + 0.5
        facts = {
            "watched_cpus": [7], "most_khz": [2_000_000], "zones": ["skin", "none"],
            "observations": [{**one, "run": 0}, {**one, "run": 10}],
        }  # fmt: skip
        return CallTimes((), wall_ns, (), facts)


@pytest.mark.parametrize(("seconds", "window"), [(600, MINUTE_S), (119, 119 / 5), (120, MINUTE_S), (10, 2)])
def test_the_first_window_beside_the_last(seconds: int, window: float) -> None:
    device = Slowing()
    told: list[tuple[int, int]] = []
    found = sustained(
        cast(Session, device), {}, seconds, hot_above=50.0, on_progress=lambda *x: told.append(x),
        clock=lambda: device.seconds,
    )  # fmt: skip
    round_s = max(1, min(ROUND_S, seconds // 10))
    assert {limit for _, _, limit in device.asked} == {round_s} and device.asked[0][1] > 0 == device.asked[1][1]
    assert all(runs == ROUND_RUNS for runs, _, _ in device.asked)
    begins = np.arange(0, seconds, round_s + 0.5)
    assert [r.begin_s for r in found.rounds] == begins.tolist() and found.seconds == begins[-1] + round_s + 0.5
    assert found.first == spread(np.repeat(1000 + begins[begins < window], 10))
    last = begins[begins + round_s + 0.5 > found.seconds - window]
    assert found.last == spread(np.repeat(1000 + last, 10)) and found.window_s == window
    assert found.ratio == found.last.median / found.first.median > 1
    assert [len(found.within(last=x)) for x in (False, True)] == [sum(begins < window), len(last)]
    assert (found.cpus, found.zones) == ((7,), ("skin", "none"))
    assert all(r.ghz == (1.5,) and r.celsius[1] is None and r.capped == 0 for r in found.rounds)
    assert [r.hot for r in found.rounds] == [10 * (30 + b / 10 > 50) for b in begins]
    assert told[-1] == (seconds, seconds) and 0 < found.busy < 0.2


def test_too_short_to_tell() -> None:
    with pytest.raises(InputError, match="9 seconds"):
        sustained(cast(Session, Slowing()), {}, 9)


def test_sustained_runs_of_a_bundle(call: Call, tmp_path: Path) -> None:
    assert call("compile", DIGITS, "-o", "d.edge")[0] == 0
    code, out, err = call("profile", "d.edge", "--num-runs", "3", "--sustained", "10s", "--html", "p.html")
    assert code == 0, err
    assert "first 2 s" in out and "last 2 s" in out and "times as long as at the beginning" in out
    assert "kept running for 1" in (tmp_path / "p.html").read_text()
    assert call("profile", "d.edge", "d.edge", "--sustained", "10s")[0] == 2
    assert "give at least 10s" in call("profile", "d.edge", "--num-runs", "1", "--sustained", "5s")[2]
