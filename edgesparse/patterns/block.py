"""Blocks of channels: unstructured, ``block:RxC`` at one kernel position, ``slice:RxC`` of whole kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesparse.patterns.pattern import (
    Columns,
    Mask,
    Scores,
    keep_largest,
    positions,
    row_sums,
    uneven,
    zero_count,
)
from edgesparse.types import Array, Shape

ROWS = (1, 2, 4, 8, 16)  # the block heights that have kernels
MAX_COLUMNS = 64


@dataclass(frozen=True, slots=True)
class Block:
    """``rows`` output channels x ``columns`` input channels, at one kernel position or, as ``whole``, at all of them.

    Where ``rows`` does not divide ``Co`` (``columns``: ``Ci``) the last block is smaller. The finest
    unit that kernels run at full dense speed is 4x1; 1x1 is unstructured sparsity.

    Source: Elsen et al. 2020, "Fast Sparse ConvNets", https://arxiv.org/abs/1911.09723; "SparseByteNN: A Novel Mobile
    Inference Acceleration Framework Based on Fine-Grained Group Sparsity" for groups of output channels.
    """

    text: str
    rows: int
    columns: int
    whole: bool = False

    @property
    def fixed_sparsity(self) -> float | None:
        return None

    @property
    def separable(self) -> bool:
        return True

    def refuses(self, shape: Shape, depthwise: bool) -> str:
        return "depthwise: there are no input channels to leave out" if depthwise else ""

    def remark(self, shape: Shape) -> str:
        return uneven(shape, self.rows, self.columns)

    def units(self, shape: Shape) -> Shape:
        return (-(-shape[0] // self.rows), -(-shape[1] // self.columns), *(() if self.whole else shape[2:]))

    def scores(self, importance: Array) -> Scores:
        """The sum of ``|.|`` over each block, ``(Co/rows, Ci/columns, *kernel)``, of slices without the kernel.

        A sum and not a mean: a smaller last block costs a kernel as much as a whole one.
        """
        sums = row_sums(importance, self.rows)
        if self.whole:
            sums = sums.reshape(*sums.shape[:2], -1).sum(axis=2)
        if self.columns > 1:
            sums = np.add.reduceat(sums, np.arange(0, importance.shape[1], self.columns), axis=1)
        return sums

    def expand(self, kept: Mask, shape: Shape) -> Mask:
        spread = kept.repeat(self.rows, axis=0).repeat(self.columns, axis=1)[: shape[0], : shape[1]]
        if not self.whole:
            return spread
        return np.array(np.broadcast_to(spread.reshape(*spread.shape, *(1 for _ in shape[2:])), shape))

    def mask(self, importance: Array, sparsity: float) -> Mask:
        scores = self.scores(importance)
        return self.expand(keep_largest(scores, zero_count(scores.size, sparsity)), importance.shape)

    def column_units(self, shape: Shape) -> Columns:
        block, kernel = np.arange(shape[1])[:, None] // self.columns, np.arange(positions(shape))
        return (block + 0 * kernel if self.whole else block * len(kernel) + kernel).reshape(-1)

    def column_limit(self, shape: Shape) -> tuple[Columns, int] | None:
        return None


def parse_unstructured(arguments: str) -> Block | None:
    return None if arguments else Block("unstructured", 1, 1)


def parse_block(arguments: str) -> Block | None:
    return _parse("block", arguments, whole=False)


def parse_slice(arguments: str) -> Block | None:
    return _parse("slice", arguments, whole=True)


def _parse(family: str, arguments: str, *, whole: bool) -> Block | None:
    rows, times, columns = arguments.partition("x")
    if not times or not all(part.isascii() and part.isdecimal() for part in (rows, columns)):
        return None
    if int(rows) not in ROWS or not 1 <= int(columns) <= MAX_COLUMNS:
        return None
    return Block(f"{family}:{int(rows)}x{int(columns)}", int(rows), int(columns), whole)
