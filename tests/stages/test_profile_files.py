"""Files of a profile: what others read, and what it is read from again."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesparse.errors import InputError
from edgesparse.profile import Profile
from edgesparse.profile_files import layers_csv, profiles_json, read_profiles, trace_json
from edgesparse.profile_html import html


def check_trace(document: dict[str, Any]) -> None:
    """What the Trace Event Format asks of its JSON object, of metadata ("M") and of complete events ("X")."""
    assert set(document) == {"traceEvents", "displayTimeUnit"} and document["displayTimeUnit"] in ("ms", "ns")
    for event in document["traceEvents"]:
        common = {"name": str, "ph": str, "pid": int, "tid": int, "args": dict}
        own = {"M": {}, "X": {"cat": str, "ts": float, "dur": float}}[event["ph"]]
        assert set(event) == {*common, *own}
        for member, kind in {**common, **own}.items():
            assert type(event[member]) in ((int, float) if kind is float else (kind,)), (member, event[member])
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name") and set(event["args"]) == {"name"}
            assert isinstance(event["args"]["name"], str) and event["args"]["name"]
        else:
            assert event["name"] and event["ts"] >= 0 <= event["dur"]
            assert np.isfinite([event["ts"], event["dur"]]).all()


def test_trace_events(two: list[Profile]) -> None:
    """Complete events in tracks that are named, one after another; a track for each profile."""
    document = json.loads(trace_json(two), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    check_trace(document)
    tracks = [{(e["pid"], e["tid"]) for e in document["traceEvents"] if e["ph"] == kind} for kind in "MX"]
    assert tracks == [{(1, 1), (2, 1)}] * 2
    names = [e for e in document["traceEvents"] if e["ph"] == "M"]
    assert {(e["name"], e["pid"]) for e in names} == {(n, p) for n in ("process_name", "thread_name") for p in (1, 2)}
    for number, found in enumerate(two, 1):
        events = [e for e in document["traceEvents"] if e["ph"] == "X" and e["pid"] == number]
        assert [e["name"] for e in events] == [x.name for x in found.layers]
        for one, following in pairwise(events):
            assert following["ts"] == pytest.approx(one["ts"] + one["dur"])


class Tags(HTMLParser):
    """Every tag that is opened is closed, but for those that never are."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not [v for k, v in attrs if k in ("src", "href")], "nothing is loaded"
        if tag not in ("meta", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_whole_and_needs_nothing_else(two: list[Profile]) -> None:
    hostile = dataclasses.replace(two[0].layers[0], name='<script>alert("x")</script>')
    heated = {
        "watched_cpus": [4], "most_khz": [2400000], "zones": ["big"],
        "observations": [
            {"at_ns": i * 10**8, "run": i, "khz": [1800000 + i], "limit_khz": [2400000], "millidegrees": [40000 + i]}
            for i in range(3)
        ],
    }  # fmt: skip
    first = dataclasses.replace(two[0], layers=(hostile, *two[0].layers[1:]), facts=heated, warnings=("hot & slow",))
    page = Tags()
    page.feed(html([first, two[1]]))
    assert page.open == ["html"], "whose end may be left out"
    words = " ".join(page.texts)
    assert "hot & slow" in words and '<script>alert("x")</script>' in words
    assert "GHz of each core over seconds" in words and "degrees Celsius" in words
    assert all(shape in words for shape in ("Roofline", "Beside each other", "CPU 4", "big"))
    assert "GHz" not in html([two[1]]), "nothing is drawn where nothing is known"


def test_csv_has_a_line_for_each_layer(two: list[Profile]) -> None:
    lines = list(csv.DictReader(io.StringIO(layers_csv(two))))
    assert [x["layer"] for x in lines] == [x.name for p in two for x in p.layers]
    assert float(lines[0]["median_us"]) == pytest.approx(two[0].layers[0].us.median, abs=1e-3)


def test_saved_profiles_are_read_again(two: list[Profile], tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(profiles_json(two))
    assert profiles_json(read_profiles(path)) == profiles_json(two)
    for text in ("", "{}", "[]", '[{"name": "m"}]', profiles_json([dataclasses.replace(two[0], run_us=())])):
        path.write_text(text)
        with pytest.raises(InputError, match=r"p\.json"):
            read_profiles(path)
    document = json.loads(profiles_json(two[:1]))
    for us in (float("nan"), float("inf"), -1.0, 1e300):
        text = json.dumps([{**document[0], "run_us": [5.0, us]}])
        path.write_text(text)
        with pytest.raises(InputError, match=r"p\.json"):
            read_profiles(path)
