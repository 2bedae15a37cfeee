"""What a profile says of predictions: how many times as long each kernel took; remembered for the next `compile`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from pathlib import Path

from edgesparse.devices import load_device
from edgesparse.errors import InputError
from edgesparse.manifest import Manifest
from edgesparse.profile import Profile
from edgesparse.tuned import predictions_hash, remember_factors
from edgesparse.types import Target

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
    a time, are left out: what they read is still in the cache."""
    known: dict[str, list[float]] = {}
    others: dict[str, list[float]] = {}
    timed = (layer for layer in manifest.layers if layer.calls)
    for layer, found in zip(timed, profile.layers, strict=True):
        if len(layer.calls) == 1 and layer.model_us and found.us.median:
            place = known if layer.predicted_us else others
            place.setdefault(layer.kernel, []).append(found.us.median / layer.model_us)
    return Corrections(*({k: exp(sum(map(log, v)) / len(v)) for k, v in each.items()} for each in (known, others)))


def why_not(profile: Profile, manifest: Manifest, threads: int, device: str | None) -> str:
    """Why a profile cannot correct predictions; "" if it can.

    ``device``: what it ran on, a name that `edgesparse devices` lists; None where that is not known.
    """
    runtime = profile.machine.get("runtime", "")
    if profile.emulated or runtime not in REAL:
        return f"times of the runtime {runtime} are not those of a device"
    if device != manifest.device:
        return f"the bundle was compiled for {manifest.device}, and this is {device or 'a device that is not known'}"
    try:
        target = load_device(manifest.device).target_in(manifest.precision)
    except InputError as error:
        return error.what
    if threads != 1 or profile.facts.get("cores") == "little":
        return "predictions are for one of the fastest cores"
    if profile.facts.get("isa", target.machine.isa) != target.machine.isa:
        return f"it ran kernels for {profile.facts['isa']}; predictions are for {target.machine.isa}"
    if manifest.predictions != predictions_hash(target):
        return "the bundle was compiled with other predictions: compile it again"
    if profile.warnings:
        return "the times are not calm enough, see the warnings"
    return ""


def remember(profile: Profile, manifest: Manifest) -> tuple[Corrections, Path]:
    """Store what `corrections` finds, in place of what was stored of these kernels; returns it and the file."""
    target: Target = load_device(manifest.device).target_in(manifest.precision)
    found = corrections(profile, manifest)
    return found, remember_factors(target, found.factors, found.others)
