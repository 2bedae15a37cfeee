"""What allocation by latency decides: a recipe, and the times and errors that go with it."""

from __future__ import annotations

from dataclasses import dataclass

from edgesparse.sparsity.recipe import Recipe


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """What one weight gets; ``pattern`` "dense" and ``sparsity`` 0 where it stays. Microseconds as predicted."""

    weight: str
    layer: str
    pattern: str
    sparsity: float
    us: float
    dense_us: float
    error: float


@dataclass(frozen=True, slots=True)
class LatencyPlan:
    """``error`` is the sum of the layers' errors, ``fixed_ms`` what the others are predicted to take.

    ``predicted_ms`` is an estimate for the whole network; ``measured_ms`` is None where nothing was run. ``dense_ms``
    was measured if ``measured_ms`` was. ``remark``: what the user should know of how the target was met, or "".
    """

    device: str
    target_ms: float
    recipe: Recipe
    layers: tuple[PlannedLayer, ...]
    predicted_ms: float
    measured_ms: float | None
    dense_ms: float
    fixed_ms: float
    error: float
    remark: str = ""

    @property
    def ms(self) -> float:
        return self.predicted_ms if self.measured_ms is None else self.measured_ms

    @property
    def speedup(self) -> float:
        return self.dense_ms / self.ms

    @property
    def source(self) -> str:
        return "estimated" if self.measured_ms is None else "measured"
