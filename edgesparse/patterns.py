"""Sparsity patterns: which weights are set to zero together.

A weight is seen as ``(Co, Ci, *kernel)``. `FAMILIES` maps the first word of a pattern to its parser;
a new kind of pattern is a class with the methods of `Pattern` and a line there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgesparse.errors import InputError
from edgesparse.types import Array, Shape

Mask = NDArray[np.bool_]
Scores = NDArray[np.float64]
ROWS = (1, 2, 4, 8, 16)  # the block heights that have kernels
MAX_COLUMNS = 64


class Pattern(Protocol):
    """The units of a weight that are kept or zeroed as a whole. ``text`` is what `parse_pattern` reads."""

    @property
    def text(self) -> str: ...

    def units(self, shape: Shape) -> Shape:
        """The shape of ``scores``: one entry a unit."""
        ...

    def scores(self, weight: Array) -> Scores:
        """The magnitude of every unit: what is lost by zeroing it."""
        ...

    def expand(self, kept: Mask, shape: Shape) -> Mask:
        """A mask of units as a mask of weights of ``shape``."""
        ...

    def mask(self, weight: Array, sparsity: float) -> Mask:
        """True where a weight stays: `zero_count` units of the smallest scores go."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """``rows`` output channels x ``columns`` input channels at one kernel position.

    Where ``rows`` does not divide ``Co`` (``columns``: ``Ci``) the last block is smaller. The finest
    unit that kernels run at full dense speed is 4x1; 1x1 is unstructured sparsity.

    Source: Elsen et al. 2020, "Fast Sparse ConvNets", https://arxiv.org/abs/1911.09723
    """

    text: str
    rows: int
    columns: int

    def units(self, shape: Shape) -> Shape:
        return (-(-shape[0] // self.rows), -(-shape[1] // self.columns), *shape[2:])

    def scores(self, weight: Array) -> Scores:
        """The sum of ``|w|`` over each block, ``(Co/rows, Ci/columns, *kernel)``.

        A sum and not a mean: a smaller last block costs a kernel as much as a whole one.
        """
        magnitude = np.abs(weight.astype(np.float64))
        if self.rows > 1:
            magnitude = np.add.reduceat(magnitude, np.arange(0, weight.shape[0], self.rows), axis=0)
        if self.columns > 1:
            magnitude = np.add.reduceat(magnitude, np.arange(0, weight.shape[1], self.columns), axis=1)
        return magnitude

    def expand(self, kept: Mask, shape: Shape) -> Mask:
        spread = kept.repeat(self.rows, axis=0).repeat(self.columns, axis=1)
        return spread[: shape[0], : shape[1]]

    def mask(self, weight: Array, sparsity: float) -> Mask:
        scores = self.scores(weight)
        return self.expand(keep_largest(scores, zero_count(scores.size, sparsity)), weight.shape)


def zero_count(units: int, sparsity: float) -> int:
    """``sparsity * units`` to the nearest whole number, halves up, and never all of them."""
    return max(0, min(int(np.floor(sparsity * units + 0.5)), units - 1))


def keep_largest(scores: Scores, zeros: int) -> Mask:
    """False at the ``zeros`` smallest scores. Of equal scores the first ones go (a stable sort)."""
    kept = np.ones(scores.size, bool)
    kept[np.argsort(scores.reshape(-1), kind="stable")[:zeros]] = False
    return kept.reshape(scores.shape)


def _unstructured(arguments: str) -> Pattern | None:
    return None if arguments else Block("unstructured", 1, 1)


def _block(arguments: str) -> Pattern | None:
    rows, times, columns = arguments.partition("x")
    if not times or not all(part.isascii() and part.isdecimal() for part in (rows, columns)):
        return None
    if int(rows) not in ROWS or not 1 <= int(columns) <= MAX_COLUMNS:
        return None
    return Block(f"block:{int(rows)}x{int(columns)}", int(rows), int(columns))


FAMILIES: Mapping[str, tuple[Callable[[str], Pattern | None], str]] = {
    "unstructured": (_unstructured, "unstructured"),
    "block": (
        _block,
        f"block:RxC (R output channels: {', '.join(map(str, ROWS))}; C input channels: 1 to {MAX_COLUMNS})",
    ),
}
"""First word -> parser of what follows the colon (None: it cannot be read), and the form for messages."""


def parse_pattern(text: str) -> Pattern:
    """``"block:4x1"`` -> `Block`; surrounding spaces and upper case are accepted.

    Raises:
        InputError: an unknown pattern; the message lists those known.
    """
    family, _, arguments = text.strip().lower().partition(":")
    found = FAMILIES[family][0](arguments) if family in FAMILIES else None
    if found is None:
        known = "; ".join(form for _, form in FAMILIES.values())
        raise InputError(f"unknown pattern '{text}'", hint=f"known patterns: {known}")
    return found
