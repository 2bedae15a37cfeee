"""What was measured of kernels on a device: a small file for each, which selection reads.

`edgesparse tune` stores times of kernels over the layers of a model, `profile` and `calibrate` factors by which kernels
are slower or faster than predicted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from edgesparse.places import measured_dir, read_stored
from edgesparse.types import Known, Selection, Target
from edgesparse.workspace import write_text

VERSION = 2


class Tuned(BaseModel):
    """``us``, ``factors`` and ``others`` as in `types.Known`; ``kernels`` and ``predictions``: hashes of what they are
    good for."""

    model_config = ConfigDict(extra="forbid")
    version: int = VERSION
    device: str
    kernels: str
    predictions: str = ""
    us: dict[str, float] = Field(default_factory=dict)
    factors: dict[str, float] = Field(default_factory=dict)
    others: dict[str, float] = Field(default_factory=dict)


def tuned_path(target: Target) -> Path:
    """``DEVICE.json`` in the user's device database, for f16 ``DEVICE-f16.json``."""
    precision = "" if target.precision == "f32" else f"-{target.precision}"
    return measured_dir() / f"{target.name}{precision}.json"


def tuned(target: Target) -> Known:
    """What is known of ``target``; nothing where nothing was measured, or the kernels have changed since.

    Raises:
        InputError: the file is damaged.
    """
    found = read_stored(tuned_path(target), Tuned, "remove it; tune, calibrate and profile write it again")
    if found is None:
        return Known()
    if found.version != VERSION or found.device != target.name or found.kernels != kernels_hash(target):
        return Known()
    known = Known(found.us, found.factors, found.others)
    return known if found.predictions == predictions_hash(target) else replace(known, factors={}, others={})


def remember(target: Target, us: Mapping[str, float]) -> None:
    """Store times of kernels for ``target`` beside those that are there, in the place of older ones."""
    with _alone():
        known = tuned(target)
        _store(target, replace(known, us={**known.us, **us}))


def remember_factors(target: Target, factors: Mapping[str, float], others: Mapping[str, float]) -> Path:
    """Store factors of kernels beside those of other kernels; returns the file."""
    with _alone():
        known = tuned(target)
        return _store(target, replace(known, factors={**known.factors, **factors}, others={**known.others, **others}))


def forget_factors(target: Target) -> None:
    """What was measured when another speed was assumed for the core says nothing any more."""
    with _alone():
        _store(target, replace(tuned(target), factors={}, others={}))


@contextmanager
def _alone() -> Iterator[None]:
    """Between reading what is stored and storing more, no other process does so: nothing of either is lost."""
    folder = measured_dir()
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back by the system, too, where the process is killed
        yield
    finally:
        os.close(lock)


def _store(target: Target, known: Known) -> Path:
    """Whole or not at all."""
    path = tuned_path(target)
    document = Tuned(
        device=target.name, kernels=kernels_hash(target), predictions=predictions_hash(target), us=dict(known.us),
        factors=dict(known.factors), others=dict(known.others),
    )  # fmt: skip
    write_text(path, document.model_dump_json(indent=1))
    return path


@cache
def kernels_hash(target: Target) -> str:
    """Of the kernels that can be chosen among, and of the core: other sources or another CPU are measured again."""
    from edgesparse.kernels import included_text, table

    sources = {k.source for k in table() if k.isa in target.isas and k.tiles}
    parts = [json.dumps([target.isas, target.machine.isa]), *(included_text(source) for source in sorted(sources))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def predictions_hash(target: Target) -> str:
    """Of what predictions are made from: factors are relative to these."""
    from edgesparse.ops import cost

    parts = [kernels_hash(target), repr(target.machine), Path(cost.__file__).read_text()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def tuning_notes(selection: Selection) -> tuple[str, ...]:
    """A sentence where kernels were chosen by measured times, and one where by corrected predictions."""
    measured = sum(step.binding.measured for step in selection.steps)
    corrected = sum(bool(step.binding.model_us) for step in selection.steps) - measured
    notes = [f"the kernels of {measured} layers were chosen by what `edgesparse tune` measured"] if measured else []
    if corrected:
        notes.append(f"those of {corrected} layers by predictions, corrected by what was measured on the device before")
    return tuple(notes)
