"""What is printed: nothing that a terminal obeys, whatever names models, files and devices have."""

from __future__ import annotations

import json

import pytest

from edgesparse import report

from .conftest import Call

ODD = "\x1b[2J\x07\x9b31m\u202ename\r\t\x7f"


def test_tables_and_messages(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_table(ODD, (ODD, "b"), [(ODD, 1)])
    report.print_facts(ODD, {ODD: ODD})
    report.note(ODD)
    report.warn(ODD)
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert "name" in text and not set(ODD.replace("name", "").replace("[2J", "").replace("31m", "")) & set(text)


def test_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_json({ODD: [ODD, "caf\xe9 \N{PILE OF POO}\n"]})
    out = capsys.readouterr().out
    assert json.loads(out) == {ODD: [ODD, "caf\xe9 \N{PILE OF POO}\n"]}
    assert "caf\xe9 \N{PILE OF POO}" in out and not {"\x1b", "\x07", "\x9b", "\u202e", "\r", "\t", "\x7f"} & set(out)


def test_errors(call: Call) -> None:
    code, _, err = call("bench", f"{ODD}.onnx")
    assert code == 2 and "name" in err and "\x1b" not in err and "\x9b" not in err
