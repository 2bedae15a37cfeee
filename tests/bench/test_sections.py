"""Sections of RESULTS.md: the best kernel of a layer, ratios of the same run, estimates called estimates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.sections import section

MACHINE = {"cpu": "a cpu", "gflops": 100.0, "gflops_after": 101.0, "l1": 200.0, "memory": 20.0}


def kernel(pattern: str, sparsity: float, name: str, us: float) -> dict[str, Any]:
    ideal = 100 * (1 - sparsity) / us if sparsity else None
    return {
        "network": "n", "layer": "conv", "pattern": pattern, "sparsity": sparsity, "kernel": name, "us": us,
        "gflops": 50.0, "of_peak": 0.5, "of_ideal": ideal, "machine": MACHINE,
    }  # fmt: skip


def test_kernels_keeps_the_fastest_and_divides_by_the_dense_one() -> None:
    rows = [kernel("dense", 0, "slow", 120), kernel("dense", 0, "fast", 100), kernel("block:4x1", 0.5, "k", 55)]
    text = section(rows)
    assert "| conv | dense | 0 | fast | 100.0 |" in text and "slow" not in text
    assert "| conv | block:4x1 | 0.5 | k | 55.0 | 50.0 | 50% | 1.82x | 91% |" in text


def test_estimates_are_called_estimates() -> None:
    row = {"kernel": "k", "mcpu": "neoverse-n1", "stands_for": "A76", "fma_per_cycle": 1.987, "compiler": "c",
           "instructions": 3}  # fmt: skip
    text = section([row])
    assert "| k | 1.99 |" in text and "estimated" in text.splitlines()[0] and "not measurements" in text


def test_instructions_say_what_is_missing() -> None:
    row = {"model": "m", "pattern": "dense", "sparsity": 0.0, "engine": "e", "emulator": "qemu 7"}
    text = section([{**row, "instructions": 12.34e6}, {**row, "missing": "no wheel"}])
    assert "| m | dense | 0 | e | 12.3 |" in text and "| m | dense | 0 | e | no wheel |" in text


def test_report_of_files_without_networks(tmp_path: Path) -> None:
    (tmp_path / "k.json").write_text(json.dumps(kernel("dense", 0, "fast", 100)) + "\n")
    (tmp_path / "why.md").write_text("## Remarks\n")
    files = [str(tmp_path / "k.json"), "-o", str(tmp_path / "R.md"), "--remarks"]
    assert report.main([*files, str(tmp_path / "none.md")]) == 2
    assert report.main([*files, str(tmp_path / "why.md")]) == 0
    text = (tmp_path / "R.md").read_text()
    assert text.startswith("## Kernels\n") and text.endswith("\n\n## Remarks\n")


@pytest.mark.parametrize("text", ["", "[1]\n", "{"])
def test_files_that_hold_no_results(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "k.json").write_text(text)
    assert report.main([str(tmp_path / "k.json"), "-o", str(tmp_path / "R.md")]) == 2
    assert "k.json" in capsys.readouterr().err and not (tmp_path / "R.md").exists()
