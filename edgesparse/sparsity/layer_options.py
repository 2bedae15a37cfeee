"""What can be done with each layer: dense, or a pattern at a sparsity, with the time and the error of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgesparse.passes.weights import Weight
from edgesparse.patterns import Mask, Pattern
from edgesparse.sparsity.kernel_clock import KernelClock, Prediction, corrected, predictions
from edgesparse.sparsity.layer_times import LayerTimes
from edgesparse.sparsity.least_error import Option
from edgesparse.sparsity.magnitude_errors import LEVELS, ErrorTable, levels_of

Progress = Callable[[int, int, str], None]
DENSE = "dense"


@dataclass(frozen=True, slots=True)
class _Tried:
    """``pattern`` None: dense."""

    weight: Weight
    pattern: Pattern | None
    sparsity: float
    error: float
    calls: tuple[Prediction, ...]

    def option(self, us: float) -> Option:
        return Option(DENSE if self.pattern is None else self.pattern.text, self.sparsity, us, self.error)

    def mask(self) -> Mask | None:
        return None if self.pattern is None else self.pattern.mask(np.abs(self.weight.array()), self.sparsity)


def layer_options(
    times: LayerTimes, weights: Sequence[Weight], patterns: Sequence[Pattern], errors: ErrorTable,
    clock: KernelClock | None = None, on_progress: Progress | None = None,
) -> dict[str, tuple[Option, ...]]:  # fmt: skip
    """By weight: dense first, then of each pattern the levels up to the last one that ``errors`` knows.

    Times are those of the kernels that selection would choose: as predicted, or with a ``clock`` `corrected` by it.
    """
    tried: list[_Tried] = []
    for done, weight in enumerate(weights):
        array, depthwise = weight.array(), weight.depthwise
        tried.append(_Tried(weight, None, 0.0, 0.0, predictions(times.layer(weight.name))))
        for pattern in patterns:
            if on_progress:
                on_progress(done, len(weights), f"{pattern.text} in {short_name(weight)}")
            table = errors.get(weight.name, {}).get(pattern.text, {})
            if not table or pattern.refuses(array.shape, depthwise):
                continue
            levels = levels_of(pattern, [s for s in LEVELS if s <= max(table)])

            def at(level: float, weight: Weight = weight, pattern: Pattern = pattern) -> tuple[Prediction, ...]:
                mask = pattern.mask(np.abs(weight.array()), level) if level else None
                return predictions(times.layer(weight.name, mask))

            known = [(level, at(level)) for level in levels]
            for level, calls in _finer(known, at) if pattern.fixed_sparsity is None else known[1:]:
                tried.append(_Tried(weight, pattern, level, error_at(table, level), calls))
    if clock is None:
        us = [sum(one.us for one in each.calls) for each in tried]
    else:
        us = corrected([each.calls for each in tried], _runner(clock, tried), _saying(on_progress))
    options: dict[str, list[Option]] = {}
    for each, time in zip(tried, us, strict=True):
        options.setdefault(each.weight.name, []).append(each.option(time))
    return {name: tuple(found) for name, found in options.items()}


def _finer(
    known: Sequence[tuple[float, tuple[Prediction, ...]]], at: Callable[[float], tuple[Prediction, ...]]
) -> list[tuple[float, tuple[Prediction, ...]]]:
    """``known`` without its first level, which is dense, and with the levels half-way between: where both neighbours
    use the same kernels, their mean, for masks of large weights take long to make.
    """
    found: list[tuple[float, tuple[Prediction, ...]]] = []
    for (low, before), (high, after) in pairwise(known):
        middle = (low + high) / 2
        if [one.kind for one in before] == [one.kind for one in after]:
            mean = tuple(Prediction(a.kind, (a.us + b.us) / 2) for a, b in zip(before, after, strict=True))
            found.append((middle, mean))
        else:
            found.append((middle, at(middle)))
        found.append((high, after))
    return found


def _runner(clock: KernelClock, tried: Sequence[_Tried]) -> Callable[[int, int], float]:
    return lambda index, number: clock.chosen_us(tried[index].weight.name, tried[index].mask(), number)


def _saying(on_progress: Progress | None) -> Callable[[int, int], None] | None:
    return None if on_progress is None else lambda done, total: on_progress(done, total, "running kernels alone")


def error_at(table: Mapping[float, float], sparsity: float) -> float:
    """Of one weight and pattern. Between its sparsities, of which 0 always has no error, the square root is linear:
    mostly errors grow at least with the square of the sparsity, so this is rather too much than too little.
    """
    known = {0.0: 0.0, **table}
    levels = sorted(known)
    return float(np.interp(sparsity, levels, [math.sqrt(known[level]) for level in levels]) ** 2)


def short_name(weight: Weight) -> str:
    """The name of its first node that has one, or its own: the key of a recipe."""
    return next((name for name in weight.nodes if name), weight.name)


def masks_of(chosen: Mapping[str, Option], weights: Sequence[Weight], patterns: Sequence[Pattern]) -> dict[str, Mask]:
    """By weight, the mask by magnitude of each option in ``chosen`` that has zeros."""
    by_name, by_text = {w.name: w for w in weights}, {p.text: p for p in patterns}
    return {
        name: by_text[option.pattern].mask(np.abs(by_name[name].array()), option.sparsity)
        for name, option in chosen.items()
        if option.sparsity
    }
