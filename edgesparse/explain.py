"""Why each layer got the kernel it has, what it gains over dense, and what would make it faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesparse.manifest import Layer
from edgesparse.ops.cost import FULL_SPEED_ROWS
from edgesparse.patterns import parse_pattern, with_rows

SPARSE_OPS = ("spmm",)
WORTH_US = 0.05  # a suggestion gains at least this share of the layer
PAYS = 1.02  # zeros that make a layer less than so many times as fast are not worth a word
FEW_ZEROS = 0.1  # trained weights may hold some zeros that nobody asked for


@dataclass(frozen=True, slots=True)
class Verdict:
    """``us`` and ``dense_us``: microseconds, as predicted or ``measured``; ``speedup`` over dense; both 0 or 1 where
    a layer has no weights to leave out. ``advice`` is empty where nothing is known that would help.
    """

    layer: str
    op: str
    kernel: str
    pattern: str
    zeros: float
    us: float
    dense_us: float
    measured: bool
    reason: str
    advice: str

    @property
    def speedup(self) -> float:
        return self.dense_us / self.us if self.us and self.dense_us else 1.0

    @property
    def verdict(self) -> str:
        """What its zeros are worth, in some words."""
        if not self.pattern:
            return "no weights"
        if self.op not in SPARSE_OPS:
            return "dense: zeros are not skipped"
        if self.speedup >= PAYS:
            return f"sparse: {self.speedup:.2f} times as fast as dense"
        if self.zeros < FEW_ZEROS:
            return "dense: hardly a zero" if self.zeros else "dense: no zeros"
        return "as fast as dense: its zeros do not pay"


def explain(layers: Sequence[Layer]) -> list[Verdict]:
    """One verdict a layer, in the order they run."""
    return [
        Verdict(
            x.name, x.op, x.kernel, x.pattern, x.zeros, x.predicted_us, x.dense_us, x.measured,
            x.reason or ("" if x.pattern else "there is one kernel for it"), _advice(x),
        )
        for x in layers
    ]  # fmt: skip


def _advice(layer: Layer) -> str:
    if layer.op not in SPARSE_OPS or not layer.predicted_us:
        return ""
    worth_us = layer.predicted_us * (1 - WORTH_US)
    if layer.zeros < FEW_ZEROS:
        half = layer.skipping_us / 2
        return f"block:4x1 at 0.5 would take {half:.3g} us at best" if half < worth_us else ""
    blocked = layer.skipping_us * (1 - layer.zeros)
    pattern = parse_pattern(layer.pattern)
    if pattern.rows < FULL_SPEED_ROWS and blocked < worth_us:
        same = with_rows(pattern, FULL_SPEED_ROWS).text
        return f"the same zeros as {same} would take {blocked:.3g} us at best"
    return ""
