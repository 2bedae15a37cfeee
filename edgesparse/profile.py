"""A bundle timed layer by layer: `profile` asks a runtime, `Profile` is what is known then.

What is timed and what is estimated stays apart: times are those of the runtime, ``of_roofline`` compares them with the
published figures of the device.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from edgesparse.devices import load_device
from edgesparse.devices.device import Device
from edgesparse.errors import InputError
from edgesparse.manifest import Layer, Manifest
from edgesparse.runtimes.session import Inputs, Progress, Session
from edgesparse.types import DTYPES, Array, CallTimes

ROUNDS = 5  # several bundles take turns so often
RESAMPLED = 2000
COUNTERS = ("cycles", "instructions", "cache_misses")
SPREAD = 0.10
"""The share of the median between the 10th and 90th percentile from which on `Profile.warnings` speaks of noise."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Of some times, all of them: nothing is left out. In the unit that they have."""

    count: int
    min: float
    median: float
    mean: float
    p10: float
    p90: float
    max: float
    std: float

    @property
    def width(self) -> float:
        """From the 10th to the 90th percentile, relative to the median."""
        return (self.p90 - self.p10) / self.median if self.median else 0.0


def spread(times: Sequence[float]) -> Spread:
    """Of at least one time; percentiles are the nearest rank, ``std`` is that of the sample (0 of one)."""
    ordered = sorted(times)
    count = len(ordered)
    return Spread(
        count, ordered[0], statistics.median(ordered), statistics.fmean(ordered), ordered[-(-count // 10) - 1],
        ordered[-(-9 * count // 10) - 1], ordered[-1], statistics.stdev(ordered) if count > 1 else 0.0,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One layer. ``us``: microseconds; ``share`` and ``cumulative`` are of the sum over layers, in run order.

    ``gflops`` counts two operations for each multiplication that is really done; ``gbs`` the bytes of weights, inputs
    and outputs, each once. ``of_roofline``: the least time that the device's published peak and bandwidth allow, over
    the median; None where they are not known. ``inputs`` are the shapes of what it reads.
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


@dataclass(frozen=True, slots=True)
class Profile:
    """``run_us`` are whole runs, in the order in which they were made, ``layers`` in run order.

    ``machine`` is what the session says of itself, ``facts`` what the program on the device said: instruction set,
    cores, their clocks and temperatures beside the runs (``observations``), counters.
    """

    name: str
    bundle: str
    device: str
    precision: str
    run_us: tuple[float, ...]
    layers: tuple[LayerTime, ...]
    layers_us: Spread
    emulated: bool
    machine: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def whole(self) -> Spread:
        return spread(self.run_us)


def profile(
    sessions: Sequence[Session], inputs: Sequence[Inputs], num_runs: int = 50, warmup_runs: int = 5,
    max_secs: int | None = None, on_progress: Progress | None = None,
) -> list[Profile]:  # fmt: skip
    """Time whole runs and, alternating with them, every layer; several bundles take turns, so that what else goes on
    meets all of them.

    Args:
        inputs: one sample for each session.
        max_secs: seconds in all, after which fewer runs were timed; at least one for each session.

    Raises:
        InputError: as `Session.bench`.
        RuntimeFailure: an engine failed, or cannot time layers.
    """
    rounds = min(ROUNDS, num_runs) if len(sessions) > 1 else 1
    limit = None
    if max_secs is not None:
        rounds = max(1, min(rounds, max_secs // len(sessions)))
        limit = max(1, max_secs // (rounds * len(sessions)))
    timed: list[list[CallTimes]] = [[] for _ in sessions]
    for number in range(rounds):
        runs = num_runs * (number + 1) // rounds - num_runs * number // rounds
        for index, (session, sample) in enumerate(zip(sessions, inputs, strict=True)):
            before = (number * len(sessions) + index) * runs

            def progress(done: int, total: int, before: int = before) -> None:
                if on_progress is not None:
                    on_progress(before + done, num_runs * len(sessions))

            timed[index].append(session.time_calls(sample, runs, warmup_runs, limit, progress))
    return [_profile(session, _joined(each)) for session, each in zip(sessions, timed, strict=True)]


def _joined(parts: Sequence[CallTimes]) -> CallTimes:
    """What was timed in turns as one; the facts of each part follow one another."""
    facts: dict[str, Any] = dict(parts[-1].facts)
    observations, done = [], 0
    for part in parts:
        for one in part.facts.get("observations", ()):
            observations.append({**one, "run": one["run"] + done})
        done += len(part.wall_ns)
    if observations:
        facts["observations"] = observations
    for name in COUNTERS:
        if all(name in part.facts for part in parts):
            facts[name] = [value for part in parts for value in part.facts[name]]
    return CallTimes(
        parts[-1].outputs, tuple(ns for part in parts for ns in part.wall_ns),
        tuple(run for part in parts for run in part.call_ns), facts,
    )  # fmt: skip


def _profile(session: Session, timed: CallTimes) -> Profile:
    manifest = session.manifest
    run_us = tuple(ns / 1e3 for ns in timed.wall_ns)
    emulated = "emulated" in session.machine.get("timing", "")
    return Profile(
        manifest.name, str(session.bundle), manifest.device, manifest.precision, run_us,
        layer_times(manifest, timed, _device(manifest)), spread([sum(run) / 1e3 for run in timed.call_ns]), emulated,
        dict(session.machine), dict(timed.facts), tuple(_warnings(run_us, timed.facts, emulated)),
    )  # fmt: skip


def layer_times(manifest: Manifest, timed: CallTimes, device: Device | None) -> tuple[LayerTime, ...]:
    """What was measured of each layer that runs anything, in run order."""
    size = DTYPES[manifest.precision].itemsize
    shapes: dict[str, tuple[int, ...]] = {p.name: p.shape for p in (*manifest.inputs, *manifest.outputs)}
    shapes |= {name: x.shape for x in manifest.layers for name in x.writes[:1]}
    found = [
        (x, spread([sum(run[c] for c in x.calls) / 1e3 for run in timed.call_ns])) for x in manifest.layers if x.calls
    ]
    total = sum(us.median for _, us in found) or 1.0
    rows, done = [], 0.0
    for x, us in found:
        done += us.median
        inputs = tuple(shapes[name] for name in x.reads if name in shapes)
        bytes_ = x.weight_bytes + size * (sum(map(prod, inputs)) + prod(x.shape))
        seconds = us.median / 1e6 or 1e-9
        rows.append(
            LayerTime(
                x.name, x.op, x.kernel, x.pattern, x.zeros, inputs, x.shape, us, us.median / total, done / total,
                x.macs, bytes_, 2e-9 * x.macs / seconds, 1e-9 * bytes_ / seconds,
                _of_roofline(device, x, bytes_, seconds),
            )
        )  # fmt: skip
    return tuple(rows)


def by_type(layers: Sequence[LayerTime]) -> list[tuple[str, int, float, float]]:
    """(operator, layers, microseconds, share), those that take longest first; medians are added up."""
    found: dict[str, list[LayerTime]] = {}
    for layer in layers:
        found.setdefault(layer.op, []).append(layer)
    rows = [(op, len(x), sum(y.us.median for y in x), sum(y.share for y in x)) for op, x in found.items()]
    return sorted(rows, key=lambda row: -row[2])


def _device(manifest: Manifest) -> Device | None:
    """What the bundle was compiled for; None where its description is not here (a file of the user's)."""
    try:
        return load_device(manifest.device)
    except InputError:
        return None


def _of_roofline(device: Device | None, layer: Layer, bytes_: int, seconds: float) -> float | None:
    if device is None or device.cluster[0].max_ghz is None or device.memory.bandwidth_gbs is None:
        return None
    core = device.cluster[0]
    least = max(layer.macs / (core.fma_width * (core.max_ghz or 1) * 1e9), bytes_ / (device.memory.bandwidth_gbs * 1e9))
    return least / seconds


def _warnings(run_us: Sequence[float], facts: Mapping[str, Any], emulated: bool) -> list[str]:
    found = []
    if emulated:
        found.append("run by an emulator: its times say nothing about a device, only which calls there are")
    width = spread(run_us).width
    if width > SPREAD and not emulated:
        found.append(
            f"the middle 80% of {len(run_us)} runs spread over {width:.0%} of the median: other programs, or changing "
            "clocks; stop them, or give more --num-runs"
        )
    slowed = capped_runs(facts)
    if slowed:
        found.append(
            f"{len(slowed)} of {len(run_us)} runs began while the clock of a core was limited below its maximum: let "
            "the device cool down, or charge it"
        )
    if missed := facts.get("missed_observations"):
        found.append(f"clocks and temperatures were not read {missed} times: too many runs for the room there is")
    return found


def capped_runs(facts: Mapping[str, Any]) -> list[int]:
    """Numbers of the timed runs before which a watched core's clock was limited below its maximum."""
    found: list[int] = []
    seen = facts.get("observations", [])
    for one, following in pairwise(seen):  # the last is after the last run
        limits = zip(one["limit_khz"], facts["most_khz"], strict=True)
        if any(0 < limit < most for limit, most in limits):
            found += range(one["run"], following["run"])
    return sorted(set(found))


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


def ratio_interval(before: Sequence[float] | Array, after: Sequence[float] | Array) -> tuple[float, float, float]:
    """Median of ``after`` over that of ``before``, and its 95% interval by 2,000 bootstrap samples of both."""
    random = np.random.default_rng(0)
    one, other = np.asarray(before, float), np.asarray(after, float)
    medians = [np.median(random.choice(x, (RESAMPLED, len(x))), axis=1) for x in (one, other)]
    low, high = np.percentile(medians[1] / medians[0], (2.5, 97.5))
    return float(np.median(other) / np.median(one)), float(low), float(high)
