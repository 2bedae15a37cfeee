"""What a profile says of predictions: how many times as long each kernel took; remembered for the next `compile`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from pathlib import Path

from edgesparse.attached import detect
from edgesparse.devices import load_device
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.profile import Profile
from edgesparse.runtimes.device import DeviceSession
from edgesparse.runtimes.session import Session
from edgesparse.tuned import predictions_hash, remember_factors
from edgesparse.types import Target

CALM = 0.25
LEAST_RUNS = 10
"""Fewer runs do not tell how calm the device was."""
LEAST_US = 2.0
"""Layers that take less are left out: reading the clock, and calling them, is part of what was measured."""
REAL = ("local", "adb", "ssh")
"""Runtimes whose times are those of a device. WebAssembly in a browser here says nothing of one elsewhere."""


@dataclass(frozen=True, slots=True)
class Corrections:
    """By the symbol of a kernel, as in `types.Known`: measured time over the predicted one."""

    factors: Mapping[str, float]
    others: Mapping[str, float]

    def __len__(self) -> int:
        return len(self.factors) + len(self.others)


def corrections(profile: Profile, manifest: Manifest) -> Corrections:
    """The geometric mean over the layers of each kernel, of medians. Layers that take turns with others, a few rows at
    a time, are left out: what they read is still in the cache. So are those of less than LEAST_US."""
    known: dict[str, list[float]] = {}
    others: dict[str, list[float]] = {}
    timed = (layer for layer in manifest.layers if layer.calls)
    for layer, found in zip(timed, profile.layers, strict=True):
        if len(layer.calls) == 1 and layer.model_us and found.us.median >= LEAST_US:
            place = known if layer.predicted_us else others
            place.setdefault(layer.kernel, []).append(found.us.median / layer.model_us)
    return Corrections(*({k: exp(sum(map(log, v)) / len(v)) for k, v in each.items()} for each in (known, others)))


def running_on(session: Session) -> str:
    """The name of the device that a session runs on; "" where it cannot be told."""
    if isinstance(session, DeviceSession):
        try:
            return detect(session.link).name
        except RuntimeFailure:
            return ""
    return "host" if session.machine.get("runtime") == "local" else ""


def why_not(profile: Profile, manifest: Manifest, device: str) -> str:
    """Why a profile cannot correct predictions; "" if it can. ``device``: what it ran on, as `running_on` has it."""
    runtime = profile.machine.get("runtime", "")
    if profile.emulated or runtime not in REAL:
        return f"times of the runtime {runtime} are not those of a device"
    if device != manifest.device:
        return f"the bundle was compiled for {manifest.device}, and this is {device or 'a device that nobody knows'}"
    try:
        target = load_device(manifest.device).target_in(manifest.precision)
    except InputError as error:
        return error.what
    cores = profile.machine.get("cores", "big").partition(" ")[0]
    if profile.machine.get("threads") != "1" or (cores != "big" and len(load_device(manifest.device).cluster) > 1):
        return "predictions are for one of the fastest cores"
    if profile.facts.get("isa", target.machine.isa) != target.machine.isa:
        return f"it ran kernels for {profile.facts['isa']}; predictions are for {target.machine.isa}"
    if manifest.predictions != predictions_hash(target):
        return "the bundle was compiled with other predictions: compile it again"
    if profile.whole.count < LEAST_RUNS:
        return f"it is of {profile.whole.count} runs, fewer than {LEAST_RUNS}"
    if profile.whole.width > CALM:
        return f"the middle 80% of the runs spread over {profile.whole.width:.0%} of the median, more than {CALM:.0%}"
    if profile.marks.runs:
        return f"{len(profile.marks.runs)} runs were made while the device was hot or slowed down"
    if not len(corrections(profile, manifest)):
        return f"no kernel that predictions are for took {LEAST_US:g} us or more"
    return ""


def remember(profile: Profile, manifest: Manifest) -> tuple[Corrections, Path]:
    """Store what `corrections` finds, in place of what was stored of these kernels; returns it and the file."""
    target: Target = load_device(manifest.device).target_in(manifest.precision)
    found = corrections(profile, manifest)
    return found, remember_factors(target, found.factors, found.others)
