"""What each layer of a model is expected to take on a device that need not be here: an estimate, never a measurement.

Two figures stand beside each other. The cost model's, from cycles of inner loops by llvm-mca (arm64) or measured ones
(x86, WebAssembly), see `ops.cost`; corrected, where `profile` or `calibrate` have met the device. And the roofline,
what arithmetic and traffic take at least, were all of it from memory (Williams et al., "Roofline: An Insightful Visual
Performance Model for Multicore Architectures").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgesparse.bands import in_bands, saved_us
from edgesparse.bundle import layers
from edgesparse.compile import lowered
from edgesparse.devices import Device, load_device
from edgesparse.manifest import Layer
from edgesparse.select import select
from edgesparse.tuned import tuned
from edgesparse.types import DTYPES, Known, LoweredGraph, Target, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

MODEL, CORRECTED, TUNED, TRAFFIC = "cost model", "corrected", "tuned", "traffic"


@dataclass(frozen=True, slots=True)
class PredictedLayer:
    """``us``: microseconds expected; ``basis`` says by what. ``dense_us``: if no weight were zero, 0 where zeros could
    not be skipped. ``roofline_us``: the least that arithmetic or memory allow, ``bound`` says which of both; None where
    the device's figures are not known."""

    name: str
    op: str
    kernel: str
    pattern: str
    zeros: float
    macs: int
    bytes: int
    us: float
    basis: str
    dense_us: float
    roofline_us: float | None
    bound: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """``us``: of the whole network, on one core of the fastest cluster; less than the sum of ``layers`` where they take
    turns a few rows at a time. ``gflops`` and ``read_gbs``: of that core, and whether they were measured."""

    device: str
    title: str
    core: str
    isa: str
    precision: str
    gflops: float | None
    read_gbs: float | None
    measured: bool
    us: float
    layers: tuple[PredictedLayer, ...]

    @property
    def dense_us(self) -> float:
        """The same without zeros in weights, from the same figures."""
        return self.us + sum(max(x.dense_us - x.us, 0.0) for x in self.layers)


def predict(model: ir.Model, device: str, precision: str = "f32") -> Prediction:
    """Raises:
    InputError, UnsupportedError: as `compile_model`.
    """
    described = load_device(device)
    target = described.target_in(precision)
    known = tuned(target)
    graph, _ = lowered(model, target)
    selection = select(graph, target, known)
    saved = saved_us(selection, target)
    found = tuple(_layer(x, graph, known, described, target) for x in layers(in_bands(selection, target), target))
    core = described.cluster[0]
    return Prediction(
        described.name, described.title, core.core, target.machine.isa, precision, core.peak_gflops,
        described.memory.core_gbs, core.gflops is not None, max(sum(x.us for x in found) - saved, 0.0), found,
    )  # fmt: skip


def _layer(x: Layer, graph: LoweredGraph, known: Known, device: Device, target: Target) -> PredictedLayer:
    us = x.predicted_us or x.model_us * known.other(x.kernel)
    basis = TUNED if x.measured else CORRECTED if us != x.model_us else MODEL if x.predicted_us else TRAFFIC
    specs = (graph.tensors[name] for name in (*x.reads, *x.writes) if name in graph.tensors)
    bytes_ = x.weight_bytes + sum(map(_bytes, specs))
    roofline, bound = _roofline(x.macs, bytes_, device, target)
    return PredictedLayer(
        x.name, x.op, x.kernel, x.pattern, x.zeros, x.macs, bytes_, us, basis, x.dense_us, roofline, bound
    )  # fmt: skip


def _bytes(spec: TensorSpec) -> int:
    return spec.size * DTYPES[spec.dtype].itemsize


def _roofline(macs: int, bytes_: int, device: Device, target: Target) -> tuple[float | None, str]:
    gflops, read_gbs = device.cluster[0].peak_gflops, device.memory.core_gbs
    if gflops is None or read_gbs is None:
        return None, ""
    halves = 2 if target.machine.isa == "neon_fp16" else 1
    arithmetic, memory = 2 * macs / gflops / halves / 1e3, bytes_ / read_gbs / 1e3
    return max(arithmetic, memory), "arithmetic" if arithmetic > memory else "memory"
