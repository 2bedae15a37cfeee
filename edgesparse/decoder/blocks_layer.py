"""Which blocks of 4 outputs x 16 inputs of a linear layer go, and what 4 bits the others become.

After "GQSA: Group Quantization and Sparsity for Accelerating Large Language Model Inference", without its training: the
order in which blocks go is that of "Optimal Brain Compression: A Framework for Accurate Post-Training Quantization and
Pruning", for 4 rows that share a mask, and the others are rounded one input after the other, as in "GPTQ: Accurate
Post-Training Quantization for Generative Pre-trained Transformers": what an integer is off by is made up for by the
inputs behind it, within the mask. All of it in float64.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgesparse.decoder.gqsa import GROUP, ROWS, in_blocks
from edgesparse.decoder.pack_qb4 import fit
from edgesparse.patterns import zero_count
from edgesparse.sparsity.moments import Matrix, Moments
from edgesparse.types import Array

MOST_WORK = 1e12
"""Multiply-adds for a layer, above which its blocks are chosen all at once, and share one factorisation."""
COLUMNS = 1024
"""Inputs up to which blocks go one after the other: that work grows with their cube."""
MEMORY_BYTES = 1 << 28  # of inverse Hessians that are worked on at once
Kept = NDArray[np.bool_]
"""(outputs / 4, inputs / 16): which blocks stay."""


def largest(weight: Array, sparsity: float) -> Kept:
    """The blocks whose weights have the largest squares."""
    return _without(np.square(in_blocks(weight), dtype=np.float64).sum(axis=(2, 3)), sparsity)


def left(weight: Array, kept: Kept) -> Array:
    """``weight`` (outputs, inputs) with zeros for what is not ``kept``."""
    mask = kept.repeat(ROWS, axis=0).repeat(GROUP, axis=1)[: weight.shape[0], : weight.shape[1]]
    found: Array = np.where(mask, weight, np.zeros((), weight.dtype))
    return found


def salient(weight: Array, moments: Moments, sparsity: float) -> Kept:
    """The blocks without which the outputs' error would grow most, were they the only ones to go.

    A block B costs ``sum_r w_rB ([H^-1]_BB)^-1 w_rB`` over its rows: the others have made up for it.
    """
    inverse = _inverse(_padded(moments.damped))
    return _without(_costs(_rows(moments.best(weight.astype(np.float64))), inverse[None]), sparsity)


def removed(weight: Array, moments: Moments, sparsity: float) -> Kept:
    """What stays when blocks go one after the other, always the one that costs a group of rows least.

    The others move each time to where the error is smallest. Then the cheapest steps of all groups are taken, each
    group's in its order: as `edgesparse.sparsity.removal`, a block at a time.
    """
    order, price = _orders(weight, moments)
    kept = np.ones(order.shape, bool)
    group, step = np.nonzero(~_without(price, sparsity))
    kept[group, order[group, step]] = False
    return kept


def prices(weight: Array, moments: Moments) -> Matrix:
    """(blocks,): what each costs of the outputs' energy, in the order of `removed` or, of long rows, all at once."""
    if can_remove(weight):
        found = _orders(weight, moments)[1]
    else:
        inverse = _inverse(_padded(moments.damped))
        found = _costs(_rows(moments.best(weight.astype(np.float64))), inverse[None])
    energy = float(moments.energy.sum())
    return found.reshape(-1) / (energy or 1.0)


def can_remove(weight: Array) -> bool:
    """Whether `removed` is worth its work, which grows with the cube of the inputs."""
    return int(weight.shape[1]) <= COLUMNS


def _orders(weight: Array, moments: Moments) -> tuple[NDArray[np.int64], Matrix]:
    """(blocks in the order in which they go, prices), both (groups, blocks): no step is to be had without those before
    it, so prices never fall."""
    rows = _rows(moments.best(weight.astype(np.float64)))
    inverse = _inverse(_padded(moments.damped))
    steps = len(inverse) // GROUP
    order, price = np.empty((len(rows), steps), np.int64), np.empty((len(rows), steps))
    for some in _parts(len(rows), inverse.nbytes):
        order[some], price[some] = _greedy(rows[some], inverse)
    return order, np.maximum.accumulate(price, axis=1)


def _greedy(rows: Matrix, inverse: Matrix) -> tuple[NDArray[np.int64], Matrix]:
    """(the blocks in the order in which they go, what each costs then), both (groups, blocks)."""
    groups, steps = len(rows), len(inverse) // GROUP
    h, w = np.tile(inverse, (groups, 1, 1)), rows.copy()
    blocks = np.tile(np.arange(steps), (groups, 1))  # which lies where: the last one fills the gap of one that goes
    order, price = np.empty((groups, steps), np.int64), np.empty((groups, steps))
    every = np.arange(groups)
    for step in range(steps):
        last = steps - step - 1
        size = last * GROUP
        costs = _costs(w[:, :, : size + GROUP], h)
        at = costs.argmin(axis=1)
        order[:, step], price[:, step] = blocks[every, at], np.maximum(costs[every, at], 0.0)
        if not last:
            break
        columns = at[:, None] * GROUP + np.arange(GROUP)
        line = h[every[:, None], columns, : size + GROUP]  # (groups, 16, columns)
        share = _solve(np.take_along_axis(line, columns[:, None, :], axis=2), line)
        gone = np.take_along_axis(w, columns[:, None, :], axis=2)
        blocks[every, at] = blocks[:, last]
        # the last block takes the place of the one that goes, in everything that is left
        for part, axis in ((w, 2), (h, 1), (h, 2), (line, 2), (share, 2)):
            _move(part, columns, size, axis)
        w[:, :, :size] -= gone @ share[:, :, :size]
        h[:, :size, :size] -= line[:, :, :size].transpose(0, 2, 1) @ share[:, :, :size]
    return order, price


def _move(part: Matrix, columns: NDArray[np.int64], last: int, axis: int) -> None:
    """What is at ``last`` of ``axis`` goes to ``columns`` (groups, 16), in place."""
    flat = np.moveaxis(part, axis, 1)
    flat[np.arange(len(part))[:, None], columns] = flat[:, last : last + GROUP].copy()


def _costs(rows: Matrix, inverse: Matrix) -> Matrix:
    """(groups, blocks): what a block costs. ``inverse``: of every group, or one for all; may have more columns."""
    count = rows.shape[2] // GROUP
    own = np.arange(count)[:, None] * GROUP + np.arange(GROUP)
    blocks = inverse[:, own[:, :, None], own[:, None, :]]
    parts = rows.reshape(*rows.shape[:2], count, GROUP).transpose(0, 2, 3, 1)  # (groups, blocks, 16, 4)
    found: Matrix = (parts * _solve(blocks, parts)).sum(axis=(2, 3))
    return found


def rounded(weight: Array, moments: Moments, kept: Kept) -> NDArray[np.float32]:
    """``weight`` (outputs, inputs) with what ``kept`` leaves moved and rounded to ``scale * v``: v in -8..7, a scale of
    16 bits for each row of a block."""
    outputs, inputs = weight.shape
    h, target = _padded(moments.damped), _rows(moments.g + moments.ridge * weight.astype(np.float64))
    sizes = kept.sum(axis=1).astype(np.float64) * GROUP
    if float((sizes**3).sum()) > MOST_WORK:
        inverse = _inverse(h)
        made = _compensated(target @ inverse, np.linalg.cholesky(inverse).T[None], kept)
    else:
        made = np.zeros(target.shape)
        for some in _parts(len(kept), h.nbytes):
            made[some] = _within(target[some], h, kept[some])
    flat = made.reshape(-1, target.shape[-1])
    return np.ascontiguousarray(flat[:outputs, :inputs], np.float32)


def _within(target: Matrix, h: Matrix, kept: Kept) -> Matrix:
    """`rounded` of some groups, each with the Hessian of what it keeps; as many blocks as the largest group has."""
    groups, most = len(kept), int(kept.sum(axis=1).max(initial=0))
    made = np.zeros(target.shape)
    if not most:
        return made
    blocks = np.argsort(~kept, axis=1, kind="stable")[:, :most]  # those that are kept first
    real = np.take_along_axis(kept, blocks, axis=1)
    columns = (blocks[:, :, None] * GROUP + np.arange(GROUP)).reshape(groups, -1)
    counts = np.repeat(real, GROUP, axis=1)
    own = h[columns[:, :, None], columns[:, None, :]] * counts[:, :, None] * counts[:, None, :]
    own[:, np.arange(most * GROUP), np.arange(most * GROUP)] += ~counts  # what fills up is alone
    inverse = _inverse(own)
    here = np.take_along_axis(target, columns[:, None, :], axis=2) * counts[:, None, :]
    found = _compensated(here @ inverse, np.linalg.cholesky(inverse).transpose(0, 2, 1), real)
    np.put_along_axis(made, columns[:, None, :], found, axis=2)
    return made


def _compensated(w: Matrix, upper: Matrix, kept: Kept) -> Matrix:
    """``w`` (groups, 4, columns) rounded column by column; ``upper``: the Cholesky factor of the inverse Hessian."""
    for block in range(kept.shape[1]):
        first, end = block * GROUP, (block + 1) * GROUP
        here = w[:, :, first:end]
        _, scale = fit(here.reshape(-1, GROUP).astype(np.float32))
        step = _short(scale.astype(np.float64)).reshape(len(w), ROWS) * kept[:, block, None]
        errors = np.empty(here.shape)
        for at in range(GROUP):
            column = here[:, :, at]
            integer = np.clip(np.rint(np.divide(column, step, out=np.zeros_like(column), where=step != 0)), -8, 7)
            line = upper[:, first + at, first:end]
            errors[:, :, at] = (column - integer * step) / line[:, at, None]
            here[:, :, at + 1 :] -= errors[:, :, at, None] * line[:, None, at + 1 :]
            here[:, :, at] = integer * step
        w[:, :, end:] -= errors @ upper[:, first:end, end:]
    return w


def _short(scale: Matrix) -> Matrix:
    """With 7 significant bits, so that integers of 4 times it fit into 16 bits, too, and files of halves stay such."""
    part, exponent = np.frexp(scale)
    found: Matrix = np.ldexp(np.rint(part * 128) / 128, exponent)
    return found


def _inverse(h: Matrix) -> Matrix:
    found: Matrix = np.linalg.inv(h).astype(np.float64, copy=False)
    return found


def _solve(a: Matrix, b: Matrix) -> Matrix:
    found: Matrix = np.linalg.solve(a, b).astype(np.float64, copy=False)
    return found


def _padded(h: Matrix) -> Matrix:
    """With inputs up to whole blocks that nothing reads."""
    more = -len(h) % GROUP
    found = np.pad(h, (0, more))
    found[len(h) :, len(h) :] = np.eye(more)
    return found


def _rows(weight: Matrix) -> Matrix:
    """(outputs, inputs) -> (groups, 4, inputs up to whole blocks), with zeros for what is not there."""
    outputs, inputs = weight.shape
    return np.pad(weight, ((0, -outputs % ROWS), (0, -inputs % GROUP))).reshape(-1, ROWS, inputs + -inputs % GROUP)


def _without(cost: Matrix, sparsity: float) -> Kept:
    kept = np.ones(cost.size, bool)
    kept[np.argsort(cost, axis=None, kind="stable")[: zero_count(cost.size, sparsity)]] = False
    return kept.reshape(cost.shape)


def _parts(groups: int, bytes_each: int) -> Iterator[slice]:
    step = max(1, MEMORY_BYTES // bytes_each)
    for first in range(0, groups, step):
        yield slice(first, first + step)
