"""Which pattern and sparsity each layer gets, so that a network meets a latency at the least error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgesparse.devices import load_device
from edgesparse.errors import InputError
from edgesparse.passes.weights import Weight, find_weights
from edgesparse.patterns import Mask, Pattern
from edgesparse.sparsity.kernel_clock import KernelClock
from edgesparse.sparsity.latency_plan import LatencyPlan, PlannedLayer
from edgesparse.sparsity.latency_search import Search
from edgesparse.sparsity.layer_options import Progress, layer_options, masks_of, short_name
from edgesparse.sparsity.layer_times import layer_times
from edgesparse.sparsity.least_error import Option
from edgesparse.sparsity.magnitude_errors import ErrorTable
from edgesparse.sparsity.stopwatch import stopwatch
from edgesparse.tuned import tuned

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["LatencyPlan", "PlannedLayer", "allocate", "check_target", "with_zeros"]


def allocate(
    model: ir.Model, weights: Sequence[Weight], patterns: Sequence[Pattern], errors: ErrorTable, device: str, *,
    target_ms: float | None = None, speedup: float | None = None, measure: bool | None = None,
    on_progress: Progress | None = None,
) -> LatencyPlan:  # fmt: skip
    """Choose pattern and sparsity of each of ``weights`` such that the network takes ``target_ms``, or the dense one's
    time over ``speedup``, at the least sum of ``errors``.

    Each layer has the options of `layer_options`, with the times that selection goes by. What the other layers take is
    subtracted from the target, and `least_error` chooses. Where the sum of these times is not what the network takes,
    the sum that is asked for is corrected, and it chooses again. With ``measure`` (None: on the host) times are those
    of kernels that run alone, and the network is run with each plan; else all is predicted.

    ``model`` is simplified, ``weights`` are its own and dense; neither is changed.

    Raises:
        InputError: no target, one that cannot be reached (the message says what can), or ``measure`` of a device that
            is not this machine.

    Source: Frantar and Alistarh 2022, "SPDY: Accurate Pruning with Speedup Guarantees",
    https://arxiv.org/abs/2201.13096
    """
    check_target(target_ms, speedup)
    target = load_device(device).target
    measure = device == "host" if measure is None else measure
    if measure and device != "host":
        raise InputError(
            f"{device} is not attached: only this machine (host) can be measured", where="measure",
            hint="leave it out: the plan is then made from predictions, which are estimates",
        )  # fmt: skip
    times = layer_times(model, weights, target, tuned(target))

    def masks(chosen: Mapping[str, Option]) -> dict[str, Mask]:
        return masks_of(chosen, weights, patterns)

    def predicted(chosen: Mapping[str, Option]) -> float:
        return times.network_us(masks(chosen)) / 1000

    name, names = model.graph.name or "model", {w.name: short_name(w) for w in weights}
    if not measure:
        options = layer_options(times, weights, patterns, errors, None, on_progress)
        search = Search(name, device, times.fixed_us, options, names)
        return search.plan(predicted, predicted, predicted({}), target_ms, speedup, False, on_progress)
    if on_progress:
        on_progress(0, 1, "running the dense network")
    with stopwatch(model, device) as watch:

        def measured(chosen: Mapping[str, Option]) -> float:
            return watch.measure(with_zeros(model, masks(chosen)))

        options = layer_options(times, weights, patterns, errors, KernelClock(times, watch.kernel_us), on_progress)
        fixed_us = 1000 * watch.dense_ms - sum(found[0].us for found in options.values())
        search = Search(name, device, max(fixed_us, 0.0), options, names)
        return search.plan(measured, predicted, watch.dense_ms, target_ms, speedup, True, on_progress)


def check_target(target_ms: float | None, speedup: float | None) -> None:
    """Raises InputError unless there is one of both, and it is a number that makes sense."""
    if (target_ms is None) == (speedup is None):
        raise InputError(
            "give a target latency or a speedup, " + ("not both" if speedup else "one of both"),
            where="--target-latency, --speedup", hint="--target-latency 8ms, or --speedup 2",
        )  # fmt: skip
    if target_ms is not None and not (math.isfinite(target_ms) and target_ms > 0):
        raise InputError(f"{target_ms:g} ms is no latency", where="--target-latency", hint="for example 8ms")
    if speedup is not None and not (math.isfinite(speedup) and speedup > 1):
        raise InputError(
            f"{speedup:g} is no speedup", where="--speedup", hint="more than 1; 2 is half of the dense network's time"
        )


def with_zeros(model: ir.Model, masks: Mapping[str, Mask]) -> ir.Model:
    """A copy. Which weights are zero makes no difference in time, only in what pattern, and how many."""
    copy = model.clone()
    for weight in find_weights(copy):
        if weight.name in masks:
            old = weight.array()
            weight.replace(np.where(masks[weight.name], old, np.zeros((), old.dtype)))
    return copy
