"""A bundle timed layer by layer: `profile` asks a runtime, `Profile` is what is known then."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from edgesparse.devices import load_device
from edgesparse.devices.device import Device
from edgesparse.energy import FEW, Energy, energy
from edgesparse.errors import InputError
from edgesparse.layer_time import LayerTime, layer_times
from edgesparse.marks import Marks, marks
from edgesparse.roof import roof
from edgesparse.runtimes.arrays import Inputs
from edgesparse.runtimes.session import Progress, Session
from edgesparse.spread import Spread, spread
from edgesparse.sustained import Sustained
from edgesparse.turns import ROUNDS, by_start, turns
from edgesparse.types import CallTimes

COUNTERS = ("cycles", "instructions", "cache_misses")
SPREAD = 0.10
"""The share of the median between the 10th and 90th percentile from which on `Profile.warnings` speaks of noise."""
STEPS = 10
"""A layer that takes fewer steps of the runtime's clock than this is known to a tenth at best."""


@dataclass(frozen=True, slots=True)
class Profile:
    """``run_us`` are whole runs, in the order in which they were made, ``layers`` in run order. ``starts``: how many of
    the runs were made after each start, see `starts`; none where a file of an older version does not say.

    ``machine`` is what the session says of itself, ``facts`` what the program on the device said: instruction set,
    cores, their clocks and temperatures beside the runs (``observations``), counters. ``energy`` is None where the
    device tells nothing of its battery, ``sustained`` unless it was asked for.
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
    marks: Marks = field(default_factory=Marks)
    energy: Energy | None = None
    sustained: Sustained | None = None
    starts: tuple[int, ...] = ()

    @property
    def whole(self) -> Spread:
        return spread(self.run_us)

    @property
    def by_start(self) -> list[tuple[float, ...]]:
        """``run_us`` of each start."""
        ends = list(accumulate(self.starts or (len(self.run_us),)))
        return [self.run_us[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def profile(
    sessions: Sequence[Session], inputs: Sequence[Inputs], num_runs: int = 50, warmup_runs: int = 5,
    max_secs: int | None = None, on_progress: Progress | None = None, hot_above: float | None = None,
) -> list[Profile]:  # fmt: skip
    """Time whole runs and, alternating with them, every layer, after each of some starts; several bundles take turns,
    so that what else goes on meets all of them.

    Args:
        inputs: one sample for each session.
        max_secs: seconds in all, after which fewer runs were timed; at least one for each session.
        hot_above: degrees Celsius above which runs are marked; unless given, what `thermal` says.

    Raises:
        InputError: as `Session.bench`.
        RuntimeFailure: an engine failed, or cannot time layers.
    """
    rounds, limit = ROUNDS, None
    if max_secs is not None:
        rounds = max(1, min(rounds, num_runs, max_secs // len(sessions)))
        limit = max(1, max_secs // (rounds * len(sessions)))
    timed: list[list[CallTimes]] = [[] for _ in sessions]
    begun: list[list[int]] = [[] for _ in sessions]
    anew: list[list[bool]] = [[] for _ in sessions]
    total, before = num_runs * len(sessions), 0

    def progress(done: int, of: int) -> None:
        if on_progress is not None:
            on_progress(before + done, total)

    for turn in turns(sessions, num_runs, rounds):
        anew[turn.index].append(turn.anew)
        begun[turn.index].append(time.monotonic_ns())
        session, sample = sessions[turn.index], inputs[turn.index]
        timed[turn.index].append(session.time_calls(sample, turn.runs, warmup_runs, limit, progress))
        before += turn.runs
    found = []
    for session, parts, at, started in zip(sessions, timed, begun, anew, strict=True):
        one = _profile(session, _joined(parts, at), hot_above)
        starts = by_start([part.wall_ns for part in parts], started)
        found.append(replace(one, starts=tuple(map(len, starts))))
    return found


def _joined(parts: Sequence[CallTimes], begun: Sequence[int]) -> CallTimes:
    """What was timed in turns, which began at these nanoseconds, as one; the facts of each follow one another."""
    facts: dict[str, Any] = dict(parts[-1].facts)
    observations, done = [], 0
    for part, at in zip(parts, begun, strict=True):
        for one in part.facts.get("observations", ()):
            observations.append({**one, "run": one["run"] + done, "at_ns": one["at_ns"] + at - begun[0]})
        done += len(part.wall_ns)
    if observations:
        facts["observations"] = observations
        facts["missed_observations"] = sum(part.facts.get("missed_observations", 0) for part in parts)
    for name in COUNTERS:
        if all(name in part.facts for part in parts):
            facts[name] = [value for part in parts for value in part.facts[name]]
    return CallTimes(
        parts[-1].outputs, tuple(ns for part in parts for ns in part.wall_ns),
        tuple(run for part in parts for run in part.call_ns), facts,
    )  # fmt: skip


def _profile(session: Session, timed: CallTimes, hot_above: float | None) -> Profile:
    manifest, facts = session.manifest, dict(timed.facts)
    run_us = tuple(ns / 1e3 for ns in timed.wall_ns)
    emulated = "emulated" in session.machine.get("timing", "")
    limits = None if emulated else roof(described(manifest.device), session.machine)
    layers = layer_times(manifest, timed, limits)
    marked = marks(run_us, facts, hot_above)
    costs = energy(run_us, facts)
    noise = [] if emulated else _noise(run_us, facts, marked, session.chooses_cores)
    return Profile(
        manifest.name, str(session.bundle), manifest.device, manifest.precision, run_us, layers,
        spread([sum(run) / 1e3 for run in timed.call_ns]), emulated, dict(session.machine), facts,
        (*noise, *_doubts(layers, facts, costs, emulated)), marked, costs,
    )  # fmt: skip


def described(device: str) -> Device | None:
    """What a bundle was compiled for; None where its description is not here (a file of the user's)."""
    try:
        return load_device(device)
    except InputError:
        return None


def _noise(run_us: Sequence[float], facts: Mapping[str, Any], marked: Marks, chooses: bool) -> list[str]:
    """Why the times may be others next time, and what to do about it. ``chooses``: the runtime takes --cores."""
    found, of = [], f"of {len(run_us)} runs"
    whole, step_us = spread(run_us), facts.get("clock_step_ns", 0) / 1e3
    if whole.median < STEPS * step_us:
        found.append(
            f"a whole run takes less than {STEPS} steps of the runtime's clock, which are {step_us:.4g} us: its times "
            "are coarse, and the median of even many runs may be wrong by a step"
        )
    elif (width := whole.width) > SPREAD:
        found.append(
            f"the middle 80% {of} spread over {width:.0%} of the median: other programs, or changing clocks; close "
            f"programs, {'keep to one kind of cores (--cores big), ' if chooses else ''}let the device cool down"
            f"{' before (--cool-to 35C)' if facts.get('zones') else ''}, and give more --num-runs"
        )
    if marked.capped:
        found.append(
            f"{len(marked.capped)} {of} began while the clock of a core was limited below its maximum: let the device "
            "cool down (--cool-to 35C), charge it, and switch battery savers off"
        )
    if marked.hot:
        found.append(
            f"{len(marked.hot)} {of} began while the device was above {marked.hot_above:g} C "
            f"({', '.join(marked.zones)}): let it cool down before (--cool-to 35C)"
        )
    return found


def _doubts(
    layers: Sequence[LayerTime], facts: Mapping[str, Any], costs: Energy | None, emulated: bool
) -> list[str]:  # fmt: skip
    """What of the profile is less than it looks like."""
    found = []
    if emulated:
        found.append("run by an emulator: its times say nothing about a device, only which calls there are")
    if missed := facts.get("missed_observations"):
        found.append(f"clocks and temperatures were not read {missed} times: too many runs for the room there is")
    step_us = facts.get("clock_step_ns", 0) / 1e3
    coarse = sum(x.us.median < STEPS * step_us for x in layers)
    if coarse:
        found.append(
            f"{coarse} of {len(layers)} layers take less than {STEPS} steps of the runtime's clock, which are "
            f"{step_us:.4g} us: their times are coarse; those of all layers together are right to a step"
        )
    empty_us = facts.get("empty_call_ns", 0) / 1e3
    short = sum(x.us.median < empty_us for x in layers)
    if short:
        found.append(
            f"{short} of {len(layers)} layers take less than calling them one by one, {empty_us:.3g} us, which is "
            "subtracted: their times are coarse"
        )
    if costs is not None and costs.error:
        found.append(f"energy: {costs.error}")
    elif costs is not None and costs.readings < FEW:
        found.append(
            f"energy: the battery's sensor gave {costs.readings} different reading{'s' * (costs.readings != 1)} during "
            "the runs: give more --num-runs, so that they take some seconds"
        )
    return found
