"""docs/profile.schema.json: what `profile --json`, `profile --save` and `diff --json` write, as JSON Schema 2020-12.

``python -m edgesparse.profile_schema docs/profile.schema.json`` writes it again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from edgesparse.layer_time import Match
from edgesparse.profile import Profile
from edgesparse.spread import Spread

if sys.version_info >= (3, 12):
    from typing import TypedDict
else:  # pydantic's wish
    from typing_extensions import TypedDict

DRAFT = "https://json-schema.org/draft/2020-12/schema"


class _Difference(TypedDict):
    unit: Literal["us"]
    ratio: float | None
    interval_95: tuple[float, float] | None
    over_starts: bool
    layers: list[Match]


def profile_schema() -> dict[str, Any]:
    """The three kinds of documents. Members that are not named here are errors, but for ``facts`` and ``machine``,
    which hold what the runtime has to tell."""
    types: list[Any] = [Profile, Spread, Match, _Difference]
    _, schema = TypeAdapter.json_schemas([(t, "serialization", TypeAdapter(t)) for t in types])
    parts: dict[str, Any] = schema["$defs"]
    parts["Difference"] = parts.pop("_Difference")
    match = parts["Match"]
    match["properties"]["times"] = {"anyOf": [{"type": "number"}, {"type": "null"}], "title": "Times"}
    printed = json.loads(json.dumps(parts["Profile"]))
    printed["properties"]["whole"] = {"$ref": "#/$defs/Spread"}
    parts["Printed"] = {**printed, "title": "Printed"}
    parts["Document"] = {
        "title": "Document", "type": "object",
        "properties": {
            "unit": {"const": "us", "type": "string"},
            "profiles": {"type": "array", "items": {"$ref": "#/$defs/Printed"}, "minItems": 1},
            "baseline": {"$ref": "#/$defs/Difference"},
        },
    }  # fmt: skip
    for name, part in parts.items():
        part["additionalProperties"] = False
        part["required"] = [p for p in part["properties"] if (name, p) != ("Document", "baseline")]
        part.pop("description", None)  # docstrings are about the code
    return {
        "$schema": DRAFT, "title": "edgesparse profile",
        "description": "profile --json: Document; profile --save: an array of Profile; diff --json: Difference",
        "anyOf": [
            {"$ref": "#/$defs/Document"}, {"type": "array", "items": {"$ref": "#/$defs/Profile"}, "minItems": 1},
            {"$ref": "#/$defs/Difference"},
        ],
        "$defs": dict(sorted(parts.items())),
    }  # fmt: skip


def profile_schema_json() -> str:
    return json.dumps(profile_schema(), indent=1) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(profile_schema_json())
