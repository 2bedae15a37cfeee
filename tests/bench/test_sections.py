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


def worth(device: str, pattern: str, sparsity: float, kernel: str, us: float, verdict: str) -> dict[str, Any]:
    return {
        "device": device, "isa": "i", "source": "measured, local", "layer": "conv", "pattern": pattern,
        "sparsity": sparsity, "kernel": kernel, "us": us, "times": 100 / us, "instructions": 0.0, "verdict": verdict,
        "command": "python -m bench.patterns", "machine": MACHINE,
    }  # fmt: skip


def test_patterns_stand_beside_each_other() -> None:
    rows = [
        worth("a", "dense", 0, "k", 100, ""), worth("a", "nm:2:4x4", 0.5, "k", 50, "faster"),
        worth("b", "dense", 0, "k", 100, ""), worth("b", "nm:2:4x4", 0.5, "k", 100, "dense, as Winograd, .."),
        worth("b", "taps:4", 5 / 9, "k", 80, "faster"),
    ]  # fmt: skip
    text = section(rows)
    assert "| pattern | zeros | conv, a (i, measured, local) | conv, b (i, measured, local) |" in text
    assert "| nm:2:4x4 | 0.50 | 2.00x | Winograd 1.00x |" in text
    assert "| taps:4 | 0.56 |  | 1.25x |" in text


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


def test_allocation_names_the_uniform_plan_or_none() -> None:
    best = {"pattern": "block:4x1", "sparsity": 0.43, "ms": 9.14, "error": 2.1}
    row = {
        "what": "allocation", "command": "python -m bench.allocation", "machine": MACHINE, "model": "m",
        "dense_ms": 14.0, "speedup": 1.5, "target_ms": 9.333, "ms": 9.24, "off": -0.01, "error": 1.8,
        "best_uniform": best,
    }  # fmt: skip
    text = section([row, {**row, "speedup": 6.0, "best_uniform": None}])
    assert "| m | 14 | 1.5 | 9.333 | 9.24 | -1.0% | 1.800 | block:4x1 at 0.43 | 9.14 | 2.100 |" in text
    assert "| m | 14 | 6 | 9.333 | 9.24 | -1.0% | 1.800 | none |  |  |" in text


def right(pattern: str, sparsity: float, method: str, rearranged: bool, *accuracy: float) -> dict[str, Any]:
    return {
        "what": "accuracy", "model": "m", "pattern": pattern, "sparsity": sparsity, "method": method,
        "rearranged": rearranged, "accuracy": accuracy, "samples": 400, "command": "python -m bench.accuracy",
        "machine": MACHINE,
    }  # fmt: skip


def test_accuracy_is_a_table_and_a_picture(tmp_path: Path) -> None:
    rows = [
        right("dense", 0.0, "", False, 90, 92), right("block:4x1", 0.3, "obc", True, 90, 91),
        right("block:4x1", 0.3, "random", False, 20, 30), right("block:4x1", 0.5, "random", False, 10, 10),
        right("nm:2:4", 0.5, "obc", False, 88, 88),
    ]  # fmt: skip
    given, out = tmp_path / "a.json", tmp_path / "R.md"
    given.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert report.main([str(given), "-o", str(out)]) == 0
    text = out.read_text()
    assert "| block:4x1 | obc, rearranged | **90.5 ± 0.5** |  |" in text
    assert "| block:4x1 | random | 25.0 ± 5.0 | **10.0 ± 0.0** |" in text
    assert "| nm:2:4 | 0.5 | obc | **88.0 ± 0.0** |" in text and "Dense: 91.0 ± 1.0; 2 splits, 400 samples" in text
    (name,) = [path.name for path in tmp_path.iterdir() if path.suffix == ".svg"]
    assert f"]({name})" in text
    picture = (tmp_path / name).read_text()
    assert "block:4x1 obc, rearranged 0.3: 90.50 %" in picture and "nm:2:4" not in picture


def test_recovery_is_compared_with_dense() -> None:
    row = {
        "what": "recovery", "model": "m", "pattern": "block:4x1", "sparsity": 0.5, "dense": [90, 92],
        "pruned": [85, 85], "recovered": [90, 90], "minutes": [2, 3],
        "command": "python -m bench.recovery", "machine": MACHINE,
    }  # fmt: skip
    assert "| m | block:4x1 0.5 | 91.0 ± 1.0 | 85.0 ± 0.0 | 90.0 ± 0.0 | -1.0 | 2.5 |" in section([row])


def test_layers_stand_beside_their_dense_ones(tmp_path: Path) -> None:
    common = {"what": "layer times", "model": "m", "pattern": "block:4x1", "zeros": 0.3, "command": "python -m bench.x",
              "machine": MACHINE}  # fmt: skip
    rows = [
        {**common, "layer": "conv", "op": "spmm", "kernel": "k", "dense_us": 100.0, "us": 70.0},
        {**common, "layer": "whole run", "op": "", "kernel": "", "dense_us": 210.0, "us": 150.0,
         "times_95": [1.38, 1.42]},
    ]  # fmt: skip
    text = section(rows)
    assert "| conv | spmm | k | 100.0 | 70.0 | 1.43 |" in text
    assert "| whole run |  |  | 210.0 | 150.0 | 1.40 (95%: 1.38 to 1.42) |" in text


def test_rearranged_layers_are_counted() -> None:
    def layer(natural: float, rearranged: float) -> dict[str, Any]:
        return {"layer": "c", "shape": [8, 4, 1, 1], "natural": natural, "rearranged": rearranged, "rows_stay": "why"}

    row = {
        "what": "rearrangement", "model": "m", "trained": True, "pattern": "block:4x1", "zeros": 0.5,
        "cpu_seconds": 1.25, "difference": 2e-7, "layers": [layer(0.5, 0.75), layer(1.0, 1.0), layer(0.6, 0.5)],
        "command": "python -m bench.rearrangement", "machine": MACHINE,
    }  # fmt: skip
    text = section([row])
    assert "| m | trained | 0.7000 | 0.7500 | 1 of 2 | 2.0e-07 | 1.2 |" in text
    assert "| c | 8x4x1x1 | 0.500 | 0.750 | why |" in text


def test_what_is_one_table_has_one_section() -> None:
    common = {"command": "python -m bench.x", "machine": MACHINE}
    lines = [
        {"what": "profiles", "model": "kws", "runtime": "node", "engine": "node 20", "whole_us": 100.0,
         "layers_us": 102.0, "ratio": 1.02, "clock_step_us": None},
        {"what": "cost of profiling", "model": "kws", "where": "local", "alone": 100.0, "with_layers": 101.0,
         "unit": "us", "cost": 0.01, "cost_95": [0.0, 0.02]},
        {"what": "predictions", "model": "kws", "pattern": "block:4x1", "zeros": 0.7, "by": "calibrated",
         "predicted_us": 900.0, "us": 1000.0, "off": 1.05},
        {"what": "download", "model": "kws", "pattern": "block:4x1", "sparsity": 0.7, "dense_gzip_bytes": 90_000,
         "packed_bytes": {"f32": 40_000, "f16": 20_000, "int8": 11_000}, "loader": [60_000, 20_000],
         "modules": {"model-relaxed.wasm": [50_000, 12_000], "model-simd128.wasm": [51_000, 13_000]}},
        {"what": "first inference", "model": "kws", "pattern": "dense", "zeros": 0.0, "engine": "edgesparse",
         "ms": [100.0, 90.0, 110.0], "runtime_bytes": 115_000, "model_bytes": 50_000, "over_ours": 1.0},
    ]  # fmt: skip
    wanted = (
        "| kws | node | node 20 | 100.0 | 102.0 | 1.020 |",
        "| kws | local | 100 | 101 | us | 1.00% (95%: 0.00% to 2.00%) |",
        "| kws | block:4x1 0.7 | calibrated | 0.9 | 1.0 | 0.9 | 1.05 |",
        "| kws | block:4x1 | 0.7 | 90 | 40 | 20 | 11 | 50.0 (12.0) | 51.0 (13.0) | 60.0 (20.0) |",
        "| kws | dense | edgesparse | 100 | 90 | 115 | 50 | 1.00 |",
    )  # fmt: skip
    for line, cells in zip(lines, wanted, strict=True):
        text = section([{**common, **line}])
        assert text.startswith("## ") and "python -m bench.x" in text and cells in text, text
