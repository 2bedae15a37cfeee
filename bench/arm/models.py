"""The networks that are counted: examples/models.py as ONNX, pruned, compiled for a board."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import onnx_ir as ir

import edgesparse as es
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.places import cache_dir
from edgesparse.workspace import workspace

DEVICE = "rpi5"
_SOURCE = Path(__file__).parents[2] / "examples" / "models.py"


def exported(name: str) -> Path:
    """The network ``name`` of examples/models.py as an ONNX file, kept in the cache.

    Raises:
        InputError: no such network.
        RuntimeFailure: torch is missing.
    """
    key = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:16]
    out = cache_dir() / "bench" / f"{name}-{key}.onnx"
    if out.exists():
        return out
    try:
        from edgesparse.examples import models
    except ImportError as error:
        raise RuntimeFailure(
            f"cannot be imported: {error}", where="examples/models.py", hint="pip install 'edgesparse[torch]'"
        ) from error
    factory = getattr(models, name, None)
    if factory is None or name.startswith("_") or getattr(factory, "__module__", "") != models.__name__:
        raise InputError(
            "no such network", where=f"--models {name}", hint="mobilenet_v1, or another factory of examples/models.py"
        )
    module, inputs = factory()
    out.parent.mkdir(parents=True, exist_ok=True)
    with workspace(out.parent) as scratch:
        fresh = scratch / "model.onnx"
        es.save(es.export(module, inputs), fresh)
        os.replace(fresh, out)
    return out


def pruned(name: str, pattern: str, sparsity: float) -> ir.Model:
    """``name`` with the share ``sparsity`` of its units of ``pattern`` set to zero; dense at 0."""
    model = es.load(exported(name))
    if sparsity:
        es.sparsify(model, pattern=pattern, sparsity=sparsity, rearrange=False)
    return model
