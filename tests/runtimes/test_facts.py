"""What programs say of their runs: taken as it is where it fits together, and refused in a line where it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgesparse.runtimes.facts import parse_facts

SEEN: dict[str, Any] = {"at_ns": 0, "run": 0, "khz": [1, -1], "limit_khz": [1, -1], "millidegrees": [-40_000]}
GOOD: dict[str, Any] = {
    "isa": "neon", "wall_ns": [5, 6], "call_ns": [[2, 3], [2, 4]], "most_khz": [2, -1], "watched_cpus": [0, 4],
    "zones": ["skin"], "observations": [SEEN, {**SEEN, "at_ns": 9, "run": 2, "microamperes": -5}],
    "clock_step_ns": 0.5, "of another version": {"a": [1]},
}  # fmt: skip


def test_what_fits_together_is_not_changed() -> None:
    assert parse_facts(json.dumps(GOOD).encode()) == GOOD
    assert parse_facts(b"{}") == {}, "what is not said is not made up"
    assert parse_facts('{"zones": ["hei\u00df"]}'.encode()[:-4] + b'"]}') == {"zones": ["hei\ufffd"]}, "a name cut off"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"wall_ns": [True]}, "wall_ns.0"),
        ({"wall_ns": [1.5]}, "wall_ns.0"),
        ({"call_ns": {}}, "call_ns"),
        ({"zones": [3]}, "zones.0"),
        ({"battery": ["full"]}, "battery"),
        ({"clock_step_ns": float("nan")}, "clock_step_ns"),
        ({"counters_error": 1 << 40}, "counters_error"),
        ({"cycles": None}, "cycles"),
        ({"most_khz": [2]}, "most_khz"),
        ({"zones": []}, "zones"),
        ({"observations": [{**SEEN, "khz": [1]}]}, "CPUs"),
        ({"observations": [{**SEEN, "run": 3}]}, "not of the timed runs"),
        ({"observations": [{**SEEN, "run": 1}, SEEN]}, "not in their order"),
        ({"observations": [{**SEEN, "microvolts": "4"}]}, "observations.0.microvolts"),
    ],
)
def test_what_does_not_is_refused_in_a_line(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="facts that are none: ") as caught:
        parse_facts(json.dumps({**GOOD, **wrong}).encode())
    assert words in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "text", [b"", b"[1]", b"null", b"\xff\x00", b"[" * 100_000, b'{"wall_ns": [1', b'{"a": "\\ud800"}']
)
def test_what_is_no_document_is_shown(text: bytes) -> None:
    with pytest.raises(ValueError, match="no JSON document: b") as caught:
        parse_facts(text)
    assert len(str(caught.value)) < 1000
