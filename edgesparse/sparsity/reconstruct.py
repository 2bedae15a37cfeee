"""The weights that a mask leaves, moved to where the layer's output error is smallest."""

from __future__ import annotations

import numpy as np

from edgesparse.patterns import Mask
from edgesparse.sparsity.moments import Matrix, Moments

LARGEST_WORK = 5e12
"""Multiply-adds that `refit` may take for a layer; beyond, what the method itself left is kept."""


def refit_work(mask: Mask) -> float:
    """The multiply-adds of `refit`: a Cholesky factorisation for each distinct row of ``mask``."""
    rows = np.unique(mask.reshape(len(mask), -1), axis=0)
    return float(np.sum(rows.sum(axis=1, dtype=float) ** 3) / 3)


def refit(mask: Mask, moments: Moments, dense: Matrix) -> Matrix:
    """Least squares on the kept weights: the smallest error that any weights with this ``mask`` (Co, K) can have.

    ``dense`` (Co, K) is where the damping pulls them. Rows with the same mask are solved together. The bias, where
    there is one, is always kept: this is its re-estimation, too.
    """
    mask = mask.reshape(len(mask), -1)
    if moments.bias:
        mask = np.concatenate([mask, np.ones((len(mask), 1), bool)], axis=1)
    target = moments.g + moments.ridge * dense
    out = np.zeros_like(target)
    distinct, which = np.unique(mask, axis=0, return_inverse=True)
    for number, row in enumerate(distinct):
        kept, rows = np.flatnonzero(row), np.flatnonzero(which.reshape(-1) == number)
        if len(kept):
            solved = np.linalg.solve(moments.damped[np.ix_(kept, kept)], target[np.ix_(rows, kept)].T)
            out[np.ix_(rows, kept)] = solved.T
    return out


def rebias(weights: Matrix, moments: Moments) -> Matrix:
    """``weights`` (Co, K) with the bias for which each output's mean is that of the dense layer, nothing else moved."""
    if not moments.bias:
        return weights
    mean_a, mean_y = moments.h[-1, :-1], moments.g[:, -1]
    return np.concatenate([weights[:, :-1], (mean_y - weights[:, :-1] @ mean_a)[:, None]], axis=1)
