"""Why each layer got the kernel it has, what it gains over dense, and what would make it faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesparse.manifest import Layer
from edgesparse.ops.cost import FULL_SPEED_ROWS

SPARSE_OPS = ("spmm",)
WORTH_US = 0.05  # a suggestion gains at least this share of the layer


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


def explain(layers: Sequence[Layer]) -> list[Verdict]:
    """One verdict a layer, in the order they run."""
    return [
        Verdict(
            x.name, x.op, x.kernel, x.pattern, x.zeros, x.predicted_us, x.dense_us, x.measured, x.reason, _advice(x)
        )
        for x in layers
    ]  # fmt: skip


def _advice(layer: Layer) -> str:
    if layer.op not in SPARSE_OPS or not layer.predicted_us:
        return ""
    worth_us = layer.predicted_us * (1 - WORTH_US)
    if layer.pattern == "dense":
        half = layer.skipping_us / 2
        return f"block:4x1 at 0.5 would take about {half:.3g} us" if half < worth_us else ""
    rows = int(layer.pattern.removeprefix("block:").partition("x")[0]) if layer.pattern.startswith("block") else 1
    blocked = layer.skipping_us * (1 - layer.zeros)
    if rows < FULL_SPEED_ROWS and blocked < worth_us:
        return f"the same zeros as block:4x1 would take about {blocked:.3g} us"
    return ""
