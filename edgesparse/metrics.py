"""How good the answers of a classifier are: right ones, calibration, and how much two models differ.

"Reprogramming under constraints: Revisiting efficient and reliable transferability of lottery tickets": sparse models
are mostly worse calibrated than dense ones, so that the calibration error stands beside every accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, sqrt

import numpy as np
from numpy.typing import NDArray

from edgesparse.types import Array

BINS = 15
SUM_TOLERANCE = 1e-3
"""Rows that sum to 1 within this, without anything below 0, are taken for probabilities."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Answers:
    """Of n samples: the class with the largest score (-1 where a score is NaN), and its probability.

    ``scores`` says what the model gives: "probabilities", or "logits", to which softmax was applied.
    """

    classes: NDArray[np.int64]
    confidence: NDArray[np.float64]
    scores: str

    @property
    def undefined(self) -> int:
        """How many samples have no answer, for a score is NaN."""
        return int((self.classes < 0).sum())


def answers(scores: Array) -> Answers:
    """``scores`` (n, classes), n and classes at least 1."""
    values = scores.astype(np.float64)
    bad: Flags = np.asarray(np.isnan(values).any(axis=1))
    clean = np.where(bad[:, None], 0.0, values)
    good = clean[~bad]
    sums = good.sum(axis=1)
    probabilities = good.size > 0 and bool((good >= 0).all() and (np.abs(sums - 1) <= SUM_TOLERANCE).all())
    if not probabilities:
        clean = _softmax(clean)
    classes = np.where(bad, -1, values.argmax(axis=1)).astype(np.int64)
    confidence = np.where(bad, 0.0, clean.max(axis=1))
    return Answers(classes, confidence, "probabilities" if probabilities else "logits")


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # infinity minus itself
        shifted = np.nan_to_num(logits - logits.max(axis=1, keepdims=True), nan=0.0)
    powers = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def expected_calibration_error(confidence: NDArray[np.float64], right: Flags, bins: int = BINS) -> float:
    """``sum over bins of |bin| / n * |share of right answers in it - mean confidence in it|``.

    The bins divide (0, 1] evenly; the lower border belongs to the bin below.
    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599
    """
    at = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(at, weights=right.astype(np.float64) - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def standard_error(share: float, count: int) -> float:
    """Of a share of ``count`` independent samples: ``sqrt(p (1 - p) / n)``."""
    return sqrt(max(share * (1 - share), 0.0) / count)


def paired_standard_error(gained: int, lost: int, count: int) -> float:
    """Of the difference of two accuracies on the same ``count`` samples, of which the first model alone has ``gained``
    right and the second alone ``lost``: ``sqrt(gained + lost - (gained - lost)^2 / n) / n``."""
    return sqrt(max(gained + lost - (gained - lost) ** 2 / count, 0.0)) / count


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p-value of McNemar's test: how likely so uneven a split is if neither model is better.

    Of the samples on which exactly one model is right, each is a fair coin: ``2 P(X <= min)``, X binomial with 1/2.
    """
    count = gained + lost
    tail = sum(comb(count, k) for k in range(min(gained, lost) + 1))
    return min(float(2 * tail / 2**count), 1.0)
