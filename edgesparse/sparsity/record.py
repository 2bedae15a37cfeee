"""What was pruned, as JSON in the model's metadata: so that the file says it itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgesparse.errors import InputError

if TYPE_CHECKING:
    from edgesparse.sparsify import Pruned

METADATA_KEY = "edgesparse.sparsity"


def record(model: ir.Model, pruned: Iterable[Pruned]) -> None:
    """Add to what an earlier call recorded, so that layers can be pruned one after the other."""
    found = recorded(model)
    for layer in pruned:
        for name in layer.nodes if any(layer.nodes) else (layer.name,):
            found[name] = {
                "pattern": layer.pattern, "sparsity": round(layer.sparsity, 6), "zeros": round(layer.zeros, 6)
            }  # fmt: skip
    model.metadata_props[METADATA_KEY] = json.dumps(found)


def recorded(model: ir.Model) -> dict[str, dict[str, str | float]]:
    """What `sparsify` recorded in the model's metadata: node name -> pattern, sparsity, zeros. Empty if nothing."""
    text = model.metadata_props.get(METADATA_KEY, "{}")
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"metadata '{METADATA_KEY}' is not a JSON object", where=model.graph.name or "model")
    return found
