"""`spread`: statistics of times, beside NumPy's; intervals beside those of whole samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesparse.spread import ratio_interval, spread


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=50))
def test_spread(times: list[float]) -> None:
    found, array = spread(times), np.array(times)
    assert (found.count, found.min, found.max) == (len(times), array.min(), array.max())
    assert found.median == pytest.approx(np.median(array))
    assert found.p90 == np.percentile(array, 90, method="inverted_cdf")
    assert found.p10 == np.percentile(array, 10, method="inverted_cdf")
    assert found.std == pytest.approx(array.std(ddof=1) if len(times) > 1 else 0, abs=1e-6)


def test_ratios_have_an_interval() -> None:
    random = np.random.default_rng(1)
    before = random.normal(100, 3, 60)
    ratio, low, high = ratio_interval(before, 1.1 * random.normal(100, 3, 60))
    assert low < ratio < high and 1.08 < low < 1.1 < high < 1.13
    assert ratio_interval(before, before)[0] == 1.0


@pytest.mark.parametrize("count", [1, 2, 7, 40, 41])
def test_the_interval_is_that_of_whole_samples(count: int) -> None:
    """Only middles are drawn; here all of each sample is."""
    random = np.random.default_rng(count)
    before, after = random.lognormal(0, 0.3, count), random.lognormal(0.1, 0.3, count)
    medians = [np.median(random.choice(x, (20_000, count)), axis=1) for x in (before, after)]
    expected = np.percentile(medians[1] / medians[0], (2.5, 97.5))
    assert ratio_interval(before, after)[1:] == pytest.approx(expected, rel=0.05)


def test_a_million_runs_have_one_too() -> None:
    """Whole samples of them would take 16 GB."""
    times = np.random.default_rng(0).normal(100, 1, 1_000_000)
    ratio, low, high = ratio_interval(times, 2 * times)
    assert ratio == pytest.approx(2) and 1.99 < low < 2 < high < 2.01


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("other", [[0.0] * 9, [0.0] * 5 + [5.0] * 6])
def test_times_below_a_step_of_the_clock_are_not_compared(other: list[float]) -> None:
    assert np.isnan(ratio_interval(other, [5.0] * 9)).all() and np.isnan(ratio_interval([5.0] * 9, other)).all()
