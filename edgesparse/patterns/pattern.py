"""What a pattern is, and how the smallest of its units are found."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgesparse.types import Array, Shape

Mask = NDArray[np.bool_]
Scores = NDArray[np.float64]
Columns = NDArray[np.int64]


class Pattern(Protocol):
    """The units of a weight (Co, Ci, *kernel) that are kept or zeroed as a whole.

    An ``importance`` is a weight, or any array of its shape of which ``|.|`` says how much each weight matters.
    """

    @property
    def text(self) -> str:
        """What `parse_pattern` reads."""
        ...

    @property
    def rows(self) -> int:
        """So many neighbouring output channels share one mask."""
        ...

    @property
    def fixed_sparsity(self) -> float | None:
        """The only sparsity beside 0 that the pattern can have, where there is but one."""
        ...

    @property
    def separable(self) -> bool:
        """Whether `column_units` and `column_limit` say all of it."""
        ...

    def refuses(self, shape: Shape, depthwise: bool) -> str:
        """Why the pattern cannot be imposed on a weight (Co, Ci/groups, *kernel), or ""."""
        ...

    def remark(self, shape: Shape) -> str:
        """What a user should know of how the pattern fits, or ""."""
        ...

    def units(self, shape: Shape) -> Shape:
        """The shape of ``scores``: one entry a unit."""
        ...

    def scores(self, importance: Array) -> Scores:
        """The sum of ``|.|`` over every unit: what is lost by zeroing it."""
        ...

    def expand(self, kept: Mask, shape: Shape) -> Mask:
        """A mask of units as a mask of weights of ``shape``."""
        ...

    def mask(self, importance: Array, sparsity: float) -> Mask:
        """True where a weight stays: `zero_count` units of the smallest scores go, or what the pattern fixes."""
        ...

    def column_units(self, shape: Shape) -> Columns:
        """(Ci * prod(kernel),): the unit of each column of ``weight.reshape(Co, -1)``, within a group of ``rows``."""
        ...

    def column_limit(self, shape: Shape) -> tuple[Columns, int] | None:
        """N:M: the group of each column, and how many of a group stay. None where any units may go."""
        ...


def zero_count(units: int, sparsity: float) -> int:
    """``sparsity * units`` to the nearest whole number, halves up, and never all of them."""
    return max(0, min(int(np.floor(sparsity * units + 0.5)), units - 1))


def keep_largest(scores: Scores, zeros: int) -> Mask:
    """False at the ``zeros`` smallest scores. Of equal scores the first ones go (a stable sort)."""
    kept = np.ones(scores.size, bool)
    kept[np.argsort(scores.reshape(-1), kind="stable")[:zeros]] = False
    return kept.reshape(scores.shape)


def row_sums(importance: Array, rows: int) -> Scores:
    """``|importance|`` summed over groups of ``rows`` output channels, the last of which may be smaller."""
    magnitude = np.abs(importance.astype(np.float64))
    return np.add.reduceat(magnitude, np.arange(0, len(magnitude), rows), axis=0) if rows > 1 else magnitude


def uneven(shape: Shape, rows: int, columns: int = 1) -> str:
    """The remark on a weight whose channels ``rows`` x ``columns`` do not divide."""
    parts = ((shape[0], rows, "output"), (shape[1], columns, "input"))
    return ", ".join(f"the last block has {n % step} of {step} {what} channels" for n, step, what in parts if n % step)


def positions(shape: Shape) -> int:
    """How many there are in the kernel."""
    return int(np.prod(shape[2:], dtype=np.int64))


class RowUnits:
    """For patterns whose units are single weights of ``rows`` neighbouring output channels."""

    __slots__ = ()
    rows: int

    def units(self, shape: Shape) -> Shape:
        return (-(-shape[0] // self.rows), *shape[1:])

    def scores(self, importance: Array) -> Scores:
        return row_sums(importance, self.rows)

    def expand(self, kept: Mask, shape: Shape) -> Mask:
        return kept.repeat(self.rows, axis=0)[: shape[0]]
