"""Layers with correlated inputs, for the tests of masks and reconstruction."""

from __future__ import annotations

import numpy as np

from edgesparse.sparsity.moments import Accumulator, Matrix, Moments


def layer(seed: int, channels: int, columns: int, samples: int = 400) -> tuple[Matrix, Matrix, Matrix, Moments]:
    """(weights with bias (channels, columns + 1), inputs (samples, columns), outputs, their moments)."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((samples, columns)) @ rng.standard_normal((columns, columns)) / np.sqrt(columns)
    inputs = np.maximum(mixed * rng.lognormal(0, 0.7, columns), 0)
    weights = rng.standard_normal((channels, columns + 1))
    outputs = inputs @ weights[:, :-1].T + weights[:, -1]
    accumulator = Accumulator(bias=True)
    for part in np.array_split(np.arange(samples), 3):
        accumulator.add(inputs[part], outputs[part])
    return weights, inputs, outputs, accumulator.moments()


def damped_error(weights: Matrix, kept: np.ndarray, moments: Moments, dense: Matrix) -> float:
    """The smallest damped squared error of one row's weights (K,) that are zero but where ``kept``, by NumPy's lstsq.

    ``min_v E(v a - y)^2 + sum ridge (v - dense)^2``, written as a least-squares problem on a square root of H.
    """
    del weights
    root = np.linalg.cholesky(moments.h + 1e-12 * np.eye(len(moments.h)))
    target = np.linalg.solve(root, dense @ moments.h)  # G = dense H here: the layer is exact
    a = np.concatenate([root.T, np.diag(np.sqrt(moments.ridge))])[:, kept]
    b = np.concatenate([target, np.sqrt(moments.ridge) * dense])
    solution, *_ = np.linalg.lstsq(a, b, rcond=None)
    return float(np.square(a @ solution - b).sum())
