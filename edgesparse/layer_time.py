"""`LayerTime`: what was measured of one layer, beside what the manifest and the device's description say of it.

Times are those of the runtime; ``of_roofline`` compares them with published figures of the device, or with those that
`calibrate` measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from edgesparse.manifest import Layer, Manifest
from edgesparse.roof import Roof
from edgesparse.spread import Spread, spread
from edgesparse.types import DTYPES, CallTimes


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One layer. ``us``: microseconds; ``share`` and ``cumulative`` are of the sum over layers, in run order.

    ``zeros`` is the share of its weights, ``activation_zeros`` that of its output on this sample, None where nothing
    counted them. ``gflops`` counts two operations for each multiplication that is really done; ``gbs`` the bytes of
    weights, inputs and outputs, each once. ``of_roofline``: the least time that the device's peak and
    bandwidth allow (published or measured), over the median; None where they are not known. ``inputs`` are the shapes
    of what it reads.
    """

    name: str
    op: str
    kernel: str
    pattern: str
    zeros: float
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    us: Spread
    share: float
    cumulative: float
    macs: int
    bytes: int
    gflops: float
    gbs: float
    of_roofline: float | None
    activation_zeros: float | None = None


def layer_times(manifest: Manifest, timed: CallTimes, roof: Roof | None) -> tuple[LayerTime, ...]:
    """What was measured of each layer that runs anything, in run order."""
    size = DTYPES[manifest.precision].itemsize
    shapes: dict[str, tuple[int, ...]] = {p.name: p.shape for p in (*manifest.inputs, *manifest.outputs)}
    shapes |= {name: x.shape for x in manifest.layers for name in x.writes[:1]}
    zeros = _activation_zeros(manifest, timed)
    found = [
        (x, share, spread([sum(run[c] for c in x.calls) / 1e3 for run in timed.call_ns]))
        for x, share in zip(manifest.layers, zeros, strict=True) if x.calls
    ]  # fmt: skip
    total = sum(us.median for _, _, us in found) or 1.0
    rows, done = [], 0.0
    for x, share, us in found:
        done += us.median
        inputs = tuple(shapes[name] for name in x.reads if name in shapes)
        bytes_ = x.weight_bytes + size * (sum(map(prod, inputs)) + prod(x.shape))
        seconds = us.median / 1e6 or float("inf")  # less than a step of the clock: no rate can be told
        rows.append(
            LayerTime(
                x.name, x.op, x.kernel, x.pattern, x.zeros, inputs, x.shape, us, us.median / total, done / total,
                x.macs, bytes_, 2e-9 * x.macs / seconds, 1e-9 * bytes_ / seconds,
                _of_roofline(roof, x, bytes_, seconds), share,
            )
        )  # fmt: skip
    return tuple(rows)


def _activation_zeros(manifest: Manifest, timed: CallTimes) -> list[float | None]:
    """Of each layer the share of zeros in its output, where it could be counted: in the arena by the runtime, here
    where the layer writes an output of the model."""
    inside, counts = manifest.held_in_arena(), timed.facts.get("zeros", ())
    found: list[float | None] = [None] * len(manifest.layers)
    if len(counts) == len(inside):
        for index, count in zip(inside, counts, strict=True):
            found[index] = count / (prod(manifest.layers[index].shape) or 1)
    arrays = {port.name: array for port, array in zip(manifest.outputs, timed.outputs, strict=False)}
    for index, x in enumerate(manifest.layers):
        if x.held is not None and x.held.output in arrays:
            array = arrays[x.held.output].reshape(-1)
            begin = x.held.offset // x.held.element_bytes
            found[index] = float(np.mean(array[begin : begin + x.held.planes * x.held.elements] == 0))
    return found


def by_type(layers: Sequence[LayerTime]) -> list[tuple[str, int, float, float]]:
    """(operator, layers, microseconds, share), those that take longest first; medians are added up."""
    found: dict[str, list[LayerTime]] = {}
    for layer in layers:
        found.setdefault(layer.op, []).append(layer)
    rows = [(op, len(x), sum(y.us.median for y in x), sum(y.share for y in x)) for op, x in found.items()]
    return sorted(rows, key=lambda row: -row[2])


def _of_roofline(roof: Roof | None, layer: Layer, bytes_: int, seconds: float) -> float | None:
    return None if roof is None else max(2e-9 * layer.macs / roof.gflops, 1e-9 * bytes_ / roof.gbs) / seconds


@dataclass(frozen=True, slots=True)
class Match:
    """A layer of two profiles: medians in microseconds, None where one of them has no layer of that name."""

    name: str
    op: str
    before_us: float | None
    after_us: float | None

    @property
    def times(self) -> float | None:
        """How many times as fast it became."""
        return self.before_us / self.after_us if self.before_us and self.after_us else None


def matched(before: Sequence[LayerTime], after: Sequence[LayerTime]) -> list[Match]:
    """By name, in the order of ``after``; those that are only in ``before`` follow."""
    first = {x.name: x for x in before}
    both = [Match(x.name, x.op, first[x.name].us.median if x.name in first else None, x.us.median) for x in after]
    gone = [x for x in before if x.name not in {y.name for y in after}]
    return both + [Match(x.name, x.op, x.us.median, None) for x in gone]
