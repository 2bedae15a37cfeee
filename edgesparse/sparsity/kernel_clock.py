"""What a layer takes in each pattern, by running its kernels alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgesparse.patterns import Mask
from edgesparse.select import Candidate, measure_key
from edgesparse.sparsity.layer_times import LayerTimes, Timed
from edgesparse.types import LoweredGraph, OpCall

CLOSE_TIMES = 1.3  # kernels that are predicted to take up to so many times the best one's time are run

Run = Callable[[LoweredGraph, OpCall, Candidate], float]
"""Runs one kernel for one call; gives its microseconds."""


@dataclass(frozen=True, slots=True)
class KernelClock:
    """Times of layers, dense or with zeros, by running kernels of ``times.graph`` with ``run``."""

    times: LayerTimes
    run: Run

    def layer_us(self, name: str, mask: Mask | None = None) -> float:
        """The fastest of the kernels that are predicted to be about the fastest."""
        graph, found = self._bound(name, mask)
        us = 0.0
        for call, candidates in zip(found.calls, found.candidates, strict=True):
            limit = CLOSE_TIMES * candidates[0].binding.predicted_us
            us += min(self.run(graph, call, c) for c in candidates if c.binding.predicted_us <= limit)
        return us

    def chosen_us(self, name: str, mask: Mask | None, number: int) -> float:
        """The kernel that would be chosen for call ``number`` of the layer."""
        graph, found = self._bound(name, mask)
        return self.run(graph, found.calls[number], found.candidates[number][0])

    def _bound(self, name: str, mask: Mask | None) -> tuple[LoweredGraph, Timed]:
        graph = self.times.graph if mask is None else self.times.masked({name: mask})
        return graph, self.times.layer(name, mask)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of one call of a layer: microseconds, and the name of ``kind``: kernel and geometry, but not how many weights."""

    kind: str
    us: float


def predictions(found: Timed) -> tuple[Prediction, ...]:
    """Of the kernels that would be chosen for the calls of a layer."""
    chosen = [candidates[0] for candidates in found.candidates]
    return tuple(
        Prediction(measure_key(call, replace(c.binding, macs=0), c.label), c.binding.predicted_us)
        for call, c in zip(found.calls, chosen, strict=True)
    )


def corrected(
    tried: Sequence[Sequence[Prediction]], run: Callable[[int, int], float],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[float]:  # fmt: skip
    """Microseconds of each of ``tried``, the predictions for a layer's calls, by running some of them.

    Of each kind the shortest and the longest are run, by ``run(index in tried, index of the call)``; what lies between
    them is linear in the prediction, for a kernel's time grows with the entries that it keeps.
    """
    kinds: dict[str, list[tuple[float, int, int]]] = {}
    for index, calls in enumerate(tried):
        for number, one in enumerate(calls):
            kinds.setdefault(one.kind, []).append((one.us, index, number))
    ends = {kind: _ends(members) for kind, members in kinds.items()}
    total, done = sum(map(len, ends.values())), 0
    points: dict[str, list[tuple[float, float]]] = {kind: [] for kind in ends}
    for kind, members in ends.items():
        for us, index, number in members:
            if on_progress:
                on_progress(done, total)
            points[kind].append((us, run(index, number)))
            done += 1
    return [sum(_between(points[one.kind], one.us) for one in calls) for calls in tried]


def _ends(members: Sequence[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
    first, last = min(members), max(members)
    return [first, last] if last[0] > first[0] else [first]


def _between(points: Sequence[tuple[float, float]], us: float) -> float:
    """On the line through two points (predicted, measured), or in the ratio of the only one."""
    predicted, measured = [p for p, _ in points], [m for _, m in points]
    if predicted[0] == predicted[-1]:
        return us * measured[0] / predicted[0] if predicted[0] else measured[0]
    return float(np.interp(us, predicted, np.maximum.accumulate(measured)))
