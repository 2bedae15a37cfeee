"""N:M sparsity: N of every M consecutive input channels stay."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from edgesparse.patterns.pattern import Columns, Mask, RowUnits, positions, uneven
from edgesparse.types import Array, Shape

LARGEST_M = 16
NM_ROWS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class NM(RowUnits):
    """``keep`` of every ``group`` consecutive input channels stay, at each kernel position; ``rows`` output channels
    share the choice (1: row by row; 4: "vector-wise", which runs as blocks of 4x1 do).

    Exactly ``keep``: of equal weights the first stay. A last group that is smaller keeps as many, if it has them.

    Source: "Progressive Gradient Flow for Robust N:M Sparsity Training in Transformers"; "The Emergence of Essential
    Sparsity in Large Pre-trained Models: The Weights that Matter" for masks without training.
    """

    text: str
    keep: int
    group: int
    rows: int = 1

    @property
    def fixed_sparsity(self) -> float | None:
        return 1.0 - self.keep / self.group

    @property
    def separable(self) -> bool:
        return True

    def refuses(self, shape: Shape, depthwise: bool) -> str:
        if depthwise:
            return "depthwise: there are no input channels to leave out"
        return f"{shape[1]} input channels, groups of {self.group}" if shape[1] <= self.keep else ""

    def remark(self, shape: Shape) -> str:
        last = shape[1] % self.group
        short = f"the last group has {last} of {self.group} input channels, {min(self.keep, last)} stay" if last else ""
        return ", ".join(filter(None, [uneven(shape, self.rows), short]))

    def mask(self, importance: Array, sparsity: float) -> Mask:
        """``sparsity`` 0 keeps all; otherwise it is that of the pattern."""
        scores = self.scores(importance)
        if sparsity == 0:
            return self.expand(np.ones(scores.shape, bool), importance.shape)
        kept = np.zeros(scores.shape, bool)
        for at in range(0, scores.shape[1], self.group):
            part = scores[:, at : at + self.group]
            best = np.argsort(-part, axis=1, kind="stable")[:, : self.keep]
            np.put_along_axis(kept[:, at : at + self.group], best, True, axis=1)
        return self.expand(kept, importance.shape)

    def column_units(self, shape: Shape) -> Columns:
        return np.arange(shape[1] * positions(shape))

    def column_limit(self, shape: Shape) -> tuple[Columns, int] | None:
        kernel = positions(shape)
        group = np.arange(shape[1])[:, None] // self.group * kernel + np.arange(kernel)
        return group.reshape(-1), self.keep


def parse_nm(arguments: str) -> NM | None:
    found = re.fullmatch(r"(\d{1,2}):(\d{1,2})(?:x(\d{1,2}))?", arguments, re.ASCII)
    if found is None:
        return None
    keep, group, rows = (int(part or 1) for part in found.groups())
    if not 1 <= keep < group <= LARGEST_M or rows not in NM_ROWS:
        return None
    return NM(f"nm:{keep}:{group}" + (f"x{rows}" if rows > 1 else ""), keep, group, rows)
