"""bench.profiles: what it says of a runtime, and of what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import profiles


def test_a_row_for_each_runtime(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.json"
    arguments = ["--models", "kws", "--runtimes", "local", "--num-runs", "3", "--json", str(out)]
    assert profiles.main(arguments) == 0
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert (row["what"], row["model"], row["runtime"], row["runs"]) == ("profiles", "kws", "local", 3)
    assert row["ratio"] == row["layers_us"] / row["whole_us"] > 0 and row["clock_step_us"] is None
    assert "local" in capsys.readouterr().out and str(tmp_path) not in row["command"]


def test_an_engine_that_is_missing_is_left_out(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHROMIUM", "/none")
    assert profiles.main(["--models", "kws", "--runtimes", "chromium"]) == 0
    assert "$CHROMIUM is /none" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--models", "--runtimes"])
def test_unknown_names(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert profiles.main([option, "none"]) == 2
    assert "there is no 'none'" in capsys.readouterr().err


def test_a_clock_with_steps_is_shown() -> None:
    row = {
        "model": "m", "runtime": "chromium", "engine": "Chromium 1", "runs": 9, "whole_us": 100.0, "layers_us": 103.0,
        "ratio": 1.03, "clock_step_us": 5.0,
    }  # fmt: skip
    assert profiles.cells(row) == ("m", "chromium", "Chromium 1", "100.0", "103.0", "1.030", "5")
