"""`starts`: intervals that hold the truth as often as they say, when starts differ more than runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgesparse.spread import ratio_interval
from edgesparse.starts import LEAST, compared


def starts(random: np.random.Generator, count: int, between: float, within: float, true: float) -> list[list[float]]:
    return [list(true * np.exp(random.normal(0, between)) * np.exp(random.normal(0, within, 10))) for _ in range(count)]


@pytest.mark.parametrize("in_turns", [False, True])
def test_as_often_as_it_says(in_turns: bool) -> None:
    """Of 600 intervals about 5% miss the true ratio: 18 to 45 with a probability of 99.9%."""
    random, missed, of_runs = np.random.default_rng(3), 0, 0
    for _ in range(600):
        one, other = starts(random, 5, 0.03, 0.002, 100.0), starts(random, 5, 0.03, 0.002, 110.0)
        found = compared(one, other, in_turns=in_turns)
        assert found.low < found.ratio < found.high and found.over_starts and found.starts == (5, 5)
        missed += not found.low <= 1.1 <= found.high
        _, low, high = ratio_interval(*(np.concatenate(each) for each in (one, other)))
        of_runs += not low <= 1.1 <= high
    assert 14 <= missed <= 50
    assert of_runs > 3 * missed  # what the bootstrap of runs makes of it


def test_pairs_take_away_what_both_met() -> None:
    random = np.random.default_rng(4)
    slow = np.exp(random.normal(0, 0.2, 5))  # five moments, in some of which all was slow
    one, other = ([[us * t] * 3 for t in slow] for us in (100.0, 110.0))
    paired, apart = compared(one, other, in_turns=True), compared(one, other)
    assert paired.ratio == pytest.approx(1.1) and apart.ratio == pytest.approx(1.1)
    assert paired.high - paired.low < 1e-9 < 0.1 < apart.high - apart.low


def test_welch_by_hand() -> None:
    """Two samples of logarithms with known means and variances."""
    one, other = [[math.exp(x)] for x in (1.0, 1.1, 1.2)], [[math.exp(x)] for x in (1.3, 1.5, 1.7, 1.9)]
    found = compared(one, other)
    variances = 0.01 / 3, (0.2**2 * 5 / 3) / 4
    error = math.sqrt(sum(variances))
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 2 + variances[1] ** 2 / 3)
    assert int(freedom) == 4
    assert found.ratio == pytest.approx(math.exp(0.5))
    assert found.low == pytest.approx(math.exp(0.5 - 2.776 * error))
    assert found.high == pytest.approx(math.exp(0.5 + 2.776 * error))


@pytest.mark.parametrize("count", range(1, LEAST))
def test_few_starts_are_said(count: int) -> None:
    random = np.random.default_rng(5)
    one, other = starts(random, count, 0.0, 0.01, 1.0), starts(random, 5, 0.0, 0.01, 2.0)
    found = compared(one, other)
    assert not found.over_starts and found.starts == (count, 5) and found.low < 2 < found.high


def test_times_below_a_step_of_the_clock() -> None:
    assert not compared([[0.0]] * 5, [[5.0]] * 5).known and not compared([[5.0]] * 5, [[0.0, 0.0, 5.0]] * 5).known
