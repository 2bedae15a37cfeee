"""Tap patterns: each 3x3 kernel keeps K of its 9 positions, in one of a few shapes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations
from typing import NoReturn

import numpy as np

from edgesparse.patterns.pattern import Columns, Mask, RowUnits, Scores, uneven
from edgesparse.types import Array, Shape

TAPS, DICTIONARY = 9, 8
FEWEST, MOST = 4, 6
TAP_ROWS, DEFAULT_ROWS = (1, 2, 4, 8, 16), 4


@dataclass(frozen=True, slots=True)
class Taps(RowUnits):
    """``keep`` of the 9 positions of the 3x3 kernels of ``rows`` output channels and one input channel stay: one of
    the `DICTIONARY` patterns of the layer, which are chosen so that they keep the most over all kernels.

    Of a depthwise convolution it is the kernels of ``rows`` neighbouring channels.
    """

    text: str
    keep: int
    rows: int

    @property
    def fixed_sparsity(self) -> float | None:
        return 1.0 - self.keep / TAPS

    @property
    def separable(self) -> bool:
        return False

    def refuses(self, shape: Shape, depthwise: bool) -> str:
        kernel = "x".join(map(str, shape[2:])) or "1x1"
        return "" if tuple(shape[2:]) == (3, 3) else f"tap patterns are for kernels of 3x3, this one is {kernel}"

    def remark(self, shape: Shape) -> str:
        return uneven(shape, self.rows)

    def mask(self, importance: Array, sparsity: float) -> Mask:
        """``sparsity`` 0 keeps all; otherwise it is that of the pattern."""
        scores = self.scores(importance)
        if sparsity == 0:
            return self.expand(np.ones(scores.shape, bool), importance.shape)
        kernels = scores.reshape(-1, TAPS)
        chosen = dictionary(kernels, self.keep)
        best = (kernels @ chosen.T).argmax(axis=1)
        return self.expand(chosen[best].astype(bool).reshape(scores.shape), importance.shape)

    def column_units(self, shape: Shape) -> NoReturn:
        raise ValueError(f"{self.text} is not made of units that go one by one")

    def column_limit(self, shape: Shape) -> tuple[Columns, int] | None:
        return None


def dictionary(kernels: Scores, keep: int) -> Scores:
    """(at most `DICTIONARY`, 9) of zeros and ones, ``keep`` ones each.

    Greedily: each time the pattern that raises the most what all ``kernels`` (n, 9) together retain, if each takes
    the best that there is.
    """
    candidates = np.zeros((0, TAPS))
    for taps in combinations(range(TAPS), keep):
        candidates = np.concatenate([candidates, np.isin(np.arange(TAPS), taps)[None].astype(np.float64)])
    retained = kernels @ candidates.T  # (kernels, candidates)
    best = np.zeros(len(kernels))
    chosen: list[int] = []
    for _ in range(DICTIONARY):
        gain = np.maximum(retained, best[:, None]).sum(axis=0)
        pick = int(gain.argmax())
        if chosen and gain[pick] <= best.sum():
            break
        chosen.append(pick)
        best = np.maximum(best, retained[:, pick])
    return np.asarray(candidates[chosen])


def parse_taps(arguments: str) -> Taps | None:
    found = re.fullmatch(r"(\d)(?:x(\d{1,2}))?", arguments, re.ASCII)
    if found is None:
        return None
    keep, rows = int(found[1]), int(found[2] or DEFAULT_ROWS)
    if not FEWEST <= keep <= MOST or rows not in TAP_ROWS:
        return None
    return Taps(f"taps:{keep}" + ("" if rows == DEFAULT_ROWS else f"x{rows}"), keep, rows)
