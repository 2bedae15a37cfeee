"""JSON lines to Markdown and SVG."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import report
from bench.plot import svg
from bench.results import Result, from_line, read, to_line
from edgesparse.errors import InputError
from tests.bench.lines import result

RESULTS = [
    result("edgesparse", "dense", 0.0, 10.0),
    result("onnxruntime", "dense", 0.0, 12.0),
    result("edgesparse", "block:4x1", 0.9, 2.0),
    result("onnxruntime", "block:4x1", 0.9, 12.0),
    result("edgesparse", "unstructured", 0.9, 5.0),
    result("onnxruntime", "unstructured", 0.9, 13.0, run="2026-01-03T00:00:00+00:00"),
    result("tvm", "dense", 0.0, 500.0),
    result("litert", "dense", 0.0, None, status="cannot", reason="no conversion for Softmax\nand a second line"),
]


def _write(path: Path, results: list[Result]) -> Path:
    path.write_text("".join(to_line(r) + "\n" for r in results))
    return path


@pytest.mark.parametrize("line", RESULTS, ids=lambda r: f"{r.engine}-{r.pattern}")
def test_a_line_is_read_as_it_was_written(line: Result) -> None:
    assert from_line(to_line(line), "here") == line


def test_a_later_line_replaces_an_earlier_one(tmp_path: Path) -> None:
    again = result("edgesparse", "dense", 0.0, 9.0)
    assert read(_write(tmp_path / "out.json", [RESULTS[0], RESULTS[1], again])) == [again, RESULTS[1]]


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"schema": 0}', to_line(RESULTS[0]).replace('"timed"', '"guessed"')], ids=range(5)
)
def test_a_line_that_is_no_result(text: str, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text(f"{to_line(RESULTS[0])}\n{text}\n")
    with pytest.raises(InputError, match=r"out\.json:2: not a result"):
        read(path)


def test_report_from_stored_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "RESULTS.md"
    assert report.main([str(_write(tmp_path / "out.json", RESULTS)), "-o", str(table)]) == 0
    plot = tmp_path / "RESULTS-mobilenet_v1.svg"
    assert capsys.readouterr().out == f"wrote {table}\nwrote {plot}\n"
    text = table.read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "| edgesparse | block:4x1 | 10.00 | 2.00 |" in rows
    assert "| onnxruntime | block:4x1 | 1.20x | 6.00x |" in rows
    assert "    python -m bench.networks --json out.json" in text.splitlines()
    assert "(dense): no conversion for Softmax\n" in text and "second line" not in text
    assert f"]({plot.name})" in text


def test_figures_of_different_runs_are_not_divided(tmp_path: Path) -> None:
    report.write(RESULTS, tmp_path / "RESULTS.md")
    assert "| onnxruntime | unstructured | 1.20x | – |" in (tmp_path / "RESULTS.md").read_text().splitlines()


def test_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["missing.json"]) == 2
    assert "missing.json: no such file" in capsys.readouterr().err


def test_svg_is_well_formed_and_has_every_line() -> None:
    lines = {("edgesparse", "a<b & c"): {0.0: 10.0, 0.9: 1.5}, ("tvm", "x"): {0.0: 400.0}, ("mnn", "x"): {0.5: 12.0}}
    root = ElementTree.fromstring(svg("title & more", lines, 10.0))
    space = "{http://www.w3.org/2000/svg}"
    words = [element.text for element in root.iter(f"{space}text")]
    assert {"title & more", "edgesparse", "a<b & c", "mnn", "tvm x: 400 ms"} <= set(words)
    tips = [element.text for element in root.iter(f"{space}title")]
    assert tips == ["edgesparse a<b & c 0: 10.00 ms", "edgesparse a<b & c 0.9: 1.50 ms", "mnn x 0.5: 12.00 ms"]
    # the ideal and the two lines that fit; tvm's is named only
    assert len(list(root.iter(f"{space}polyline"))) == 3


def test_svg_of_one_slow_engine_alone() -> None:
    assert ElementTree.fromstring(svg("t", {("tvm", "x"): {0.0: 400.0}}, None)) is not None
