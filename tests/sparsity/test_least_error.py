"""The choice of one option a layer: the least error within a budget of time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesparse.sparsity.least_error import Option, fastest_us, least_error, undominated

times = st.integers(1, 1000).map(float)
errors = st.floats(0, 10, allow_nan=False)
four_layers = st.lists(
    st.lists(st.builds(Option, st.just("p"), st.just(0.5), times, errors), min_size=4, max_size=4),
    min_size=4, max_size=4,
)  # fmt: skip


def brute_force(layers: Sequence[Sequence[Option]], budget: float) -> float | None:
    fitting = [c for c in itertools.product(*layers) if sum(o.us for o in c) <= budget]
    return min((sum(o.error for o in c) for c in fitting), default=None)


@given(four_layers, st.integers(1, 4000))
def test_least_error_is_that_of_all_choices(layers: list[list[Option]], budget: int) -> None:
    chosen = least_error(layers, float(budget))
    best = brute_force(layers, float(budget))
    if chosen is None:
        assert best is None
        return
    assert all(option in options for option, options in zip(chosen, layers, strict=True))
    assert sum(o.us for o in chosen) <= budget
    assert best is not None and sum(o.error for o in chosen) == pytest.approx(best)


@given(four_layers, st.integers(1, 4000), st.integers(2, 12))
@settings(max_examples=50)
def test_few_buckets_never_exceed_the_budget_nor_miss_what_fits(
    layers: list[list[Option]], budget: int, buckets: int
) -> None:
    chosen = least_error(layers, float(budget), buckets)
    assert (chosen is None) == (fastest_us(layers) > budget)
    if chosen is not None:
        assert sum(o.us for o in chosen) <= budget


def test_many_layers_lose_little_by_buckets() -> None:
    """Sixty layers of twenty options: a bound from below is the best mixture (the convex hull, one layer split)."""
    rng = np.random.default_rng(0)
    layers = []
    for scale in rng.uniform(1, 50, 60):
        dense = 100 * scale
        levels = np.linspace(0, 0.95, 20)
        layers.append([Option("p", s, dense * (1 - s), rng.uniform(0.5, 2) * s**2) for s in levels])
    budget = 0.5 * sum(options[0].us for options in layers)
    chosen = least_error(layers, budget)
    assert chosen is not None and sum(o.us for o in chosen) <= budget
    # Lagrange: for any price of time, sum of min(error + price * us) - price * budget is a lower bound
    bounds = [
        sum(min(o.error + price * o.us for o in options) for options in layers) - price * budget
        for price in np.geomspace(1e-6, 1e-1, 400)
    ]
    assert max(bounds) <= sum(o.error for o in chosen) <= 1.02 * max(bounds)


def test_dominated_options_go() -> None:
    dense = Option("dense", 0.0, 10.0, 0.0)
    slow = Option("unstructured", 0.3, 11.0, 0.1)  # sparse, and slower than dense
    equal = Option("unstructured", 0.4, 10.0, 0.2)
    good = Option("block:4x1", 0.5, 5.0, 0.3)
    worse = Option("unstructured", 0.9, 6.0, 0.8)
    fast = Option("block:4x1", 0.9, 2.0, 0.9)
    assert undominated([fast, worse, good, equal, slow, dense]) == (dense, good, fast)
