"""Which units to remove, exactly: Optimal Brain Compression's greedy order, for groups of rows that share a mask.

Source: "Optimal Brain Compression: A Framework for Accurate Post-Training Quantization and Pruning" (Frantar and
Alistarh 2022). Rows that share a mask share the inverse Hessian, too, so a group costs as much as a single row there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesparse.patterns import Mask, Pattern, zero_count
from edgesparse.sparsity.moments import Matrix, Moments
from edgesparse.types import Shape

MEMORY_BYTES = 1 << 28  # of inverse Hessians that are worked on at once


@dataclass(frozen=True)
class Removal:
    """Per group of rows the units in the order in which they go, and the squared output error that each adds.

    ``order`` and ``loss``: (groups, steps); ``rows`` channels form a group; ``unit``: (K,), the unit of each column.
    ``energy`` is what the losses are relative to, ``free`` that steps of all groups compete (else all are taken).
    """

    order: NDArray[np.int64]
    loss: Matrix
    rows: int
    unit: NDArray[np.int64]
    energy: float
    free: bool

    @property
    def count(self) -> int:
        return len(self.order) * (int(self.unit.max()) + 1)

    def _taken(self, sparsity: float) -> Mask:
        """(groups, steps): the ``zero_count`` cheapest steps, each group's in its order."""
        if not self.free:
            return np.ones(self.loss.shape, bool)
        price = np.maximum.accumulate(self.loss, axis=1)  # a step is not to be had without those before it
        taken = np.zeros(price.size, bool)
        taken[np.argsort(price.reshape(-1), kind="stable")[: zero_count(self.count, sparsity)]] = True
        return taken.reshape(price.shape)

    def mask(self, shape: Shape, sparsity: float) -> Mask:
        """True where a weight of ``shape`` (Co, Ci, *kernel) stays."""
        kept = np.ones((len(self.order), int(self.unit.max()) + 1), bool)
        group, step = np.nonzero(self._taken(sparsity))
        kept[group, self.order[group, step]] = False
        return kept[:, self.unit].repeat(self.rows, axis=0)[: shape[0]].reshape(shape)

    def error(self, sparsity: float) -> float:
        """The predicted ``E|W a - y|^2 / E|y|^2`` that removal adds: OBC's trace, from which any sparsity is cut."""
        lost = float(self.loss[self._taken(sparsity)].sum())
        return lost / self.energy if self.energy else 0.0


def remove(
    weight: Matrix, shape: Shape, pattern: Pattern, moments: Moments, on_step: Callable[[int, int], None] | None = None
) -> Removal:
    """Remove units one after the other, always the one that adds the least error, until none may go.

    ``weight``: (Co, K) with K as in ``moments``. A unit U of a group costs ``sum_r w_rU ([H^-1]_UU)^-1 w_rU``; the
    others are then moved to where the error is smallest without it.
    """
    unit = pattern.column_units(shape)
    limit = pattern.column_limit(shape)
    height = pattern.rows
    groups = -(-len(weight) // height)
    rows = np.zeros((groups * height, weight.shape[1]))
    rows[: len(weight)] = weight
    members = _members(unit, moments)
    inverse: Matrix = np.asarray(np.linalg.inv(moments.damped), np.float64)
    chunk = max(1, MEMORY_BYTES // inverse.nbytes)
    orders, losses = [], []
    for at in range(0, groups, chunk):
        stop = min(groups, at + chunk)
        part = rows[at * height : stop * height].reshape(stop - at, height, -1)
        order, loss = _greedy(part, inverse, members, limit, at, groups, on_step)
        orders.append(order)
        losses.append(loss)
    energy = float(moments.energy.sum())
    return Removal(np.concatenate(orders), np.concatenate(losses), height, unit, energy, limit is None)


def _members(unit: NDArray[np.int64], moments: Moments) -> NDArray[np.int64]:
    """(units, largest size): the columns of each unit; smaller ones are filled with a column that is not there."""
    found = [np.flatnonzero(unit == u) for u in range(int(unit.max()) + 1)]
    size = max(map(len, found))
    nowhere = len(moments.h)
    return np.stack([np.pad(m, (0, size - len(m)), constant_values=nowhere) for m in found])


def _greedy(
    rows: Matrix, inverse: Matrix, members: NDArray[np.int64], limit: tuple[NDArray[np.int64], int] | None,
    done: int, total: int, on_step: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.int64], Matrix]:  # fmt: skip
    """(order, loss) of some groups: ``rows`` (groups, height, K)."""
    groups, size = len(rows), members.shape[1]
    padded = bool((members == len(inverse)).any())
    k = len(inverse) + padded
    h = np.zeros((groups, k, k))
    h[:, : len(inverse), : len(inverse)] = inverse
    if padded:  # its inverse Hessian is that of nothing: it costs nothing and moves nothing
        h[:, -1, -1] = 1.0
        rows = np.concatenate([rows, np.zeros((*rows.shape[:2], 1))], axis=2)
    w = rows.copy()
    each = np.arange(groups)
    alive = np.ones((groups, len(members)), bool)
    left = np.zeros(0)
    steps = len(members)
    if limit is not None:
        group_of, keep = limit
        family = group_of[members[:, 0]]
        left = np.tile(np.maximum(np.bincount(family) - keep, 0), (groups, 1))
        steps = int(left[0].sum())
    order, loss = np.zeros((groups, steps), np.int64), np.zeros((groups, steps))
    for step in range(steps):
        cost = _costs(w, h, members)
        open_ = alive if limit is None else alive & (left[:, family] > 0)
        unit = np.where(open_, cost, np.inf).argmin(axis=1)
        order[:, step], loss[:, step] = unit, np.maximum(cost[each, unit], 0.0)
        columns = members[unit]  # (groups, size)
        for at in range(size):  # one column after the other: the same as all of the unit at once
            column = columns[:, at]
            line = h[each, column]
            pivot = np.maximum(line[each, column], np.finfo(float).tiny)
            share = line / pivot[:, None]
            w -= w[each, :, column][:, :, None] * share[:, None, :]
            h -= line[:, :, None] * share[:, None, :]
            if padded and at:  # the column that is not there may be used again
                h[:, -1, :] = h[:, :, -1] = 0.0
                h[:, -1, -1] = 1.0
            w[each, :, column] = 0.0
            h[each, column, :] = h[each, :, column] = 0.0
            if padded:
                h[:, -1, -1] = 1.0
        alive[each, unit] = False
        if limit is not None:
            left[each, family[unit]] -= 1
        if on_step is not None:
            on_step(done * steps + step * groups, total * steps)
    return order, loss


def _costs(w: Matrix, h: Matrix, members: NDArray[np.int64]) -> Matrix:
    """(groups, units): what each unit costs; meaningless for those that are gone."""
    if members.shape[1] == 1:
        column = members[:, 0]
        diagonal = np.maximum(h[:, column, column], np.finfo(float).tiny)
        return np.asarray(np.square(w[:, :, column]).sum(axis=1) / diagonal)
    blocks = h[:, members[:, :, None], members[:, None, :]]  # (groups, units, size, size)
    gone = np.diagonal(blocks, axis1=2, axis2=3) <= 0
    blocks = blocks + gone[..., None] * np.eye(members.shape[1])
    parts = np.moveaxis(w[:, :, members], 1, 3)  # (groups, units, size, height)
    return np.asarray((parts * np.linalg.solve(blocks, parts)).sum(axis=(2, 3)))
