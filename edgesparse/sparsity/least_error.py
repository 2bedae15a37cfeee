"""Of each layer's options one, so that the sum of times stays within a budget and the sum of errors is the least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run a layer: ``us`` microseconds at ``error``. ``sparsity`` 0 is the dense layer."""

    pattern: str
    sparsity: float
    us: float
    error: float


def undominated(options: Sequence[Option]) -> tuple[Option, ...]:
    """``options`` without those that another one beats in time at no more error, or in error at no more time; slowest
    first, so that errors rise.

    A sparse option that is no faster than the dense layer is always among those that go. Of equal ones the first stays.
    """
    kept: list[Option] = []
    for option in sorted(options, key=lambda o: (o.us, o.error)):
        if not kept or option.error < kept[-1].error:
            kept.append(option)
    return tuple(reversed(kept))


def fastest_us(layers: Sequence[Sequence[Option]]) -> float:
    """The sum of every layer's fastest option: no budget can be less."""
    return sum(min(option.us for option in options) for options in layers)


def least_error(
    layers: Sequence[Sequence[Option]], budget_us: float, buckets: int = BUCKETS
) -> tuple[Option, ...] | None:
    """The option of each layer that minimises ``sum error`` subject to ``sum us <= budget_us``; None: it is too small.

    Dynamic programming over the layers: a state is the time and error of a choice for the layers so far, and one that
    another state beats in both is dropped. Up to ``buckets`` states are kept, so few layers are solved exactly; of more
    states only the best in each of ``buckets`` equal intervals of time stays, and the fastest of all. Its exact time
    stays with it, so that nothing is lost by rounding, and the budget is never exceeded.

    Source: the dynamic programming of Frantar and Alistarh 2022, "SPDY: Accurate Pruning with Speedup Guarantees",
    https://arxiv.org/abs/2201.13096, which rounds times to buckets.
    """
    layers = [undominated(options) for options in layers]
    limit = budget_us * (1 + 1e-12)  # sums of floats in another order
    rest = np.cumsum([0.0, *(min(o.us for o in options) for options in reversed(layers))])[::-1]
    if rest[0] > limit:
        return None
    us, errors = np.zeros(1), np.zeros(1)
    steps: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []  # which state before, and which option
    for number, options in enumerate(layers):
        all_us = np.add.outer(us, [o.us for o in options]).reshape(-1)
        all_errors = np.add.outer(errors, [o.error for o in options]).reshape(-1)
        states = _frontier(all_us, all_errors, max(limit - rest[number + 1], 0.0), buckets)
        us, errors = all_us[states], all_errors[states]
        steps.append((states // len(options), states % len(options)))
    state = len(us) - 1  # the frontier's errors fall as its times rise
    chosen: list[Option] = []
    for options, (before, which) in zip(reversed(layers), reversed(steps), strict=True):
        chosen.append(options[which[state]])
        state = int(before[state])
    return tuple(reversed(chosen))


def _frontier(us: NDArray[np.float64], errors: NDArray[np.float64], limit: float, buckets: int) -> NDArray[np.int64]:
    """The numbers of the states to keep, by rising time and falling error; the fastest one is always among them."""
    order = np.lexsort((errors, us))
    order = order[: max(int(np.searchsorted(us[order], limit, side="right")), 1)]
    sorted_errors = errors[order]
    best_before = np.minimum.accumulate(np.concatenate([[np.inf], sorted_errors[:-1]]))
    order = order[sorted_errors < best_before]
    if len(order) <= buckets:
        return order
    bucket = np.minimum((us[order] / limit * buckets).astype(np.int64), buckets - 1)
    last = np.append(bucket[1:] != bucket[:-1], True)  # of each bucket: the least error
    last[0] = True
    kept: NDArray[np.int64] = order[last]
    return kept
