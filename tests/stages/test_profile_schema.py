"""What `profile` and `diff` write fits the JSON Schema in docs/, which is that of the code."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from edgesparse.profile_schema import profile_schema, profile_schema_json
from tests.conftest import PROJECT
from tests.stages.conftest import Call
from tests.stages.profiled import DIGITS

SCHEMA = PROJECT / "docs" / "profile.schema.json"


def check(document: Any) -> None:
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)


def test_it_is_that_of_the_code() -> None:
    again = "python -m edgesparse.profile_schema docs/profile.schema.json"
    assert SCHEMA.read_text() == profile_schema_json(), f"{again} writes it again"
    jsonschema.Draft202012Validator.check_schema(profile_schema())


def test_documents_fit(call: Call, tmp_path: Path) -> None:
    assert call("compile", DIGITS, "-o", "d.edge")[0] == 0
    timed = ("profile", "d.edge", "--num-runs", "3")
    code, out, err = call(*timed, "--sustained", "10s", "--save", "s.json", "--json")
    assert code == 0, err
    check(json.loads(out))
    check(json.loads((tmp_path / "s.json").read_text()))
    assert json.loads(out)["profiles"][0]["sustained"]["ratio"] > 0
    check(json.loads(call(*timed, "--baseline", "s.json", "--json")[1]))
    check(json.loads(call("diff", "s.json", "s.json", "--json")[1]))
    check(json.loads(call("profile", "d.edge", "d.edge", "--num-runs", "2", "--json")[1]))


@pytest.mark.parametrize("change", ["missing", "unknown", "text", "none"])
def test_others_do_not(change: str, call: Call) -> None:
    assert call("compile", DIGITS, "-o", "d.edge")[0] == 0
    document = json.loads(call("profile", "d.edge", "--num-runs", "2", "--json")[1])
    layer = document["profiles"][0]["layers"][0]
    if change == "missing":
        del layer["us"]["p90"]
    elif change == "unknown":
        layer["colour"] = "red"
    elif change == "text":
        layer["share"] = "all of it"
    else:
        document["profiles"] = []
    with pytest.raises(jsonschema.ValidationError):
        check(document)


def test_every_field_is_in_it() -> None:
    from edgesparse.layer_time import LayerTime
    from edgesparse.profile import Profile

    parts = profile_schema()["$defs"]
    for kind in (Profile, LayerTime):
        assert {f.name for f in dataclasses.fields(kind)} == set(parts[kind.__name__]["properties"])
