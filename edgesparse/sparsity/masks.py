"""Methods that choose a layer's mask: magnitude, random, Wanda, SparseGPT and OBC."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgesparse.patterns import Mask, Pattern, keep_largest, zero_count
from edgesparse.sparsity.moments import Matrix, Moments
from edgesparse.sparsity.reconstruct import LARGEST_WORK, rebias, refit, refit_work
from edgesparse.sparsity.removal import remove
from edgesparse.types import Array

OBC_COLUMNS = 768
"""OBC's work grows with the cube of a row's length: longer rows are done by SparseGPT."""
COLUMN_BLOCK = 128  # of SparseGPT
CALIBRATED = ("wanda", "sparsegpt", "obc")
METHODS = ("magnitude", "random", *CALIBRATED)
Step = Callable[[int, int], None]


@dataclass(frozen=True)
class Chosen:
    """``mask`` (Co, Ci, *kernel), the weights (Co, K) that are left, and which method it was in the end."""

    mask: Mask
    weights: Matrix
    method: str


def choose(
    method: str, name: str, weight: Array, dense: Matrix, pattern: Pattern, sparsity: float, moments: Moments | None,
    on_step: Step | None = None,
) -> Chosen:  # fmt: skip
    """The mask of ``weight`` (Co, Ci, *kernel) by ``method``, and what is left of ``dense`` (Co, K with bias).

    ``moments`` are needed by the methods in CALIBRATED; the others re-estimate the bias where there are some.
    ``name`` seeds the random method: the same layer gets the same mask in every run.
    """
    if method in ("sparsegpt", "obc") and pattern.separable:
        assert moments is not None
        return _reconstructed(method, weight, dense, pattern, sparsity, moments, on_step)
    if method == "random":
        mask = random_mask(name, weight, pattern, sparsity)
    elif method == "magnitude":
        mask = pattern.mask(weight, sparsity)
    elif method == "wanda":
        assert moments is not None
        mask = wanda(weight, pattern, sparsity, moments)
    else:  # a pattern that cannot be taken apart column by column: ranked by what OBC says of single weights
        assert moments is not None
        mask = pattern.mask(saliency(weight, dense, moments), sparsity)
        return Chosen(mask, refit(mask, moments, dense), "saliency")
    left = _masked(mask, dense)
    return Chosen(mask, left if moments is None else rebias(left, moments), method)


def _masked(mask: Mask, dense: Matrix) -> Matrix:
    left = dense.copy()
    flat = mask.reshape(len(mask), -1)
    left[:, : flat.shape[1]] *= flat
    return np.asarray(left)


def random_mask(name: str, weight: Array, pattern: Pattern, sparsity: float) -> Mask:
    """The baseline of every report: "The Unreasonable Effectiveness of Random Pruning: Return of the Most Naive
    Baseline for Sparse Training".
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return pattern.mask(rng.random(weight.shape), sparsity)


def calibrated_magnitude(weight: Array, moments: Moments) -> Array:
    """``|W_ij| |a_j|_2``, shaped as ``weight``: what a weight contributes to its output. Source: see `wanda`."""
    norm = np.sqrt(np.maximum(np.diag(moments.h)[: moments.columns], 0.0))
    return np.asarray(np.abs(weight) * norm.reshape(1, *weight.shape[1:]))


def wanda(weight: Array, pattern: Pattern, sparsity: float, moments: Moments) -> Mask:
    """`calibrated_magnitude`, ranked within each output row (each group of rows).

    Source: "A Simple and Effective Pruning Approach for Large Language Models" (Sun et al. 2023).
    """
    importance = calibrated_magnitude(weight, moments)
    parts = [pattern.mask(importance[at : at + pattern.rows], sparsity) for at in range(0, len(weight), pattern.rows)]
    return np.concatenate(parts)


def saliency(weight: Array, dense: Matrix, moments: Moments) -> Array:
    """``w^2 / [H^-1]_jj``: the error that a single weight's removal adds, all others being free to make up for it."""
    best = moments.best(dense)[:, : moments.columns]
    cost = np.square(best) / np.diag(np.linalg.inv(moments.damped))[: moments.columns]
    return np.asarray(cost.reshape(weight.shape))


def _reconstructed(
    method: str, weight: Array, dense: Matrix, pattern: Pattern, sparsity: float, moments: Moments, on_step: Step | None
) -> Chosen:
    start = moments.best(dense)
    if method == "obc" and moments.columns <= OBC_COLUMNS:
        mask = remove(start, weight.shape, pattern, moments, on_step).mask(weight.shape, sparsity)
        return Chosen(mask, refit(mask, moments, dense), "obc")
    mask, left = sparsegpt(start, weight.shape, pattern, sparsity, moments)
    if refit_work(mask) <= LARGEST_WORK:
        left = refit(mask, moments, dense)
    return Chosen(mask, left, "sparsegpt")


def sparsegpt(
    start: Matrix, shape: tuple[int, ...], pattern: Pattern, sparsity: float, moments: Moments
) -> tuple[Mask, Matrix]:
    """Columns from first to last, each error made up for by the columns behind it; masks for COLUMN_BLOCK at a time.

    Source: "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot" (Frantar and Alistarh 2023).
    Units of several rows are scored by the sum over them. The bias is the last column: it makes up for all others.
    """
    unit, limit, height = pattern.column_units(shape), pattern.column_limit(shape), pattern.rows
    family = unit if limit is None else limit[0]
    order = np.lexsort((np.arange(len(unit)), unit, family))
    groups, rest = -(-len(start) // height), len(start) % height
    w = np.pad(start, ((0, height - rest if rest else 0), (0, 0)))
    tail = np.arange(len(order), start.shape[1])
    everything = np.concatenate([order, tail])
    w = w[:, everything]
    inverse = np.linalg.inv(moments.damped[np.ix_(everything, everything)])
    upper = np.linalg.cholesky(inverse).T
    kept = np.ones((len(w), len(order)), bool)
    for begin, end in _column_blocks(family[order]):
        squares = np.square(w[:, begin:end] / np.diag(upper)[begin:end]).reshape(groups, height, -1).sum(axis=1)
        here = unit[order[begin:end]]
        names, position = np.unique(here, return_inverse=True)
        scores = np.zeros((groups, len(names)))
        np.add.at(scores.T, position, squares.T)
        stays = _kept_units(scores, limit, family[order[begin:end]], position, sparsity)
        kept[:, begin:end] = stays[:, position].repeat(height, axis=0)
        errors = np.zeros((len(w), end - begin))
        for at in range(begin, end):
            left = np.where(kept[:, at], w[:, at], 0.0)
            errors[:, at - begin] = (w[:, at] - left) / upper[at, at]
            w[:, at:end] -= errors[:, at - begin, None] * upper[at, at:end]
            w[:, at] = left
        w[:, end:] -= errors @ upper[begin:end, end:]
    mask, left = np.ones((len(start), len(order)), bool), np.zeros_like(start)
    mask[:, order] = kept[: len(start)]
    left[:, everything] = w[: len(start)]
    return mask.reshape(shape), left


def _column_blocks(family: Array) -> list[tuple[int, int]]:
    """Runs of about COLUMN_BLOCK columns that end where a family (a unit, or the group of an N:M pattern) ends."""
    ends = [*(np.flatnonzero(np.diff(family)) + 1).tolist(), len(family)]
    blocks, begin = [], 0
    for end, following in zip(ends, [*ends[1:], None], strict=True):
        if following is None or following - begin > COLUMN_BLOCK:
            blocks.append((begin, end))
            begin = end
    return blocks


def _kept_units(
    scores: Matrix, limit: tuple[Array, int] | None, family: Array, position: Array, sparsity: float
) -> Mask:
    if limit is None:
        return keep_largest(scores, min(round(sparsity * scores.size), zero_count(scores.size, sparsity)))
    kept = np.zeros(scores.shape, bool)
    family_of = np.zeros(scores.shape[1], np.int64)
    family_of[position] = family
    for one in np.unique(family_of):
        columns = np.flatnonzero(family_of == one)
        best = np.argsort(-scores[:, columns], axis=1, kind="stable")[:, : limit[1]]
        np.put_along_axis(kept, columns[best], True, axis=1)
    return kept
