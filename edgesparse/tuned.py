"""What `edgesparse tune` measured: a small file per device, which selection reads."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesparse.build import cache_dir
from edgesparse.errors import InputError
from edgesparse.types import Selection, Target
from edgesparse.workspace import workspace

VERSION = 1


class Tuned(BaseModel):
    """``us``: microseconds by `select.measure_key`; ``kernels``: a hash of the kernels that were measured."""

    model_config = ConfigDict(extra="forbid")
    version: int = VERSION
    device: str
    kernels: str
    us: dict[str, float] = Field(default_factory=dict)


def tuned_path(target: Target) -> Path:
    """``$EDGESPARSE_TUNED/DEVICE.json``, for f16 ``DEVICE-f16.json``; the folder is ``tuned`` beside the compiled
    kernels unless it is set.
    """
    folder = os.environ.get("EDGESPARSE_TUNED")
    precision = "" if target.precision == "f32" else f"-{target.precision}"
    return (Path(folder) if folder else cache_dir() / "tuned") / f"{target.name}{precision}.json"


def tuned(target: Target) -> Mapping[str, float]:
    """Measured microseconds for ``target``; nothing where nothing was measured, or the kernels have changed since.

    Raises:
        InputError: the file is damaged.
    """
    path = tuned_path(target)
    try:
        found = Tuned.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        raise InputError(
            f"cannot be read: {str(error).splitlines()[0]}", where=str(path), hint="remove it, and run tune again"
        ) from error  # fmt: skip
    fits = found.version == VERSION and found.device == target.name and found.kernels == kernels_hash(target)
    return found.us if fits else {}


def remember(target: Target, us: Mapping[str, float]) -> None:
    """Replace what is stored for ``target``: whole or not at all."""
    path = tuned_path(target)
    document = Tuned(device=target.name, kernels=kernels_hash(target), us=dict(us))
    path.parent.mkdir(parents=True, exist_ok=True)
    with workspace(path.parent) as scratch:
        (scratch / "tuned.json").write_text(document.model_dump_json(indent=1))
        os.replace(scratch / "tuned.json", path)


def kernels_hash(target: Target) -> str:
    """Of the kernels that can be chosen among, and of the core: other sources or another CPU are measured again."""
    from edgesparse.kernels import included_text, table

    sources = {k.source for k in table() if k.isa in target.isas and k.tiles}
    parts = [json.dumps([target.isas, target.machine.isa]), *(included_text(source) for source in sorted(sources))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def tuning_notes(selection: Selection) -> tuple[str, ...]:
    """One sentence where kernels were chosen by measured times."""
    count = sum(step.binding.measured for step in selection.steps)
    return (f"the kernels of {count} layers were chosen by what `edgesparse tune` measured",) if count else ()
