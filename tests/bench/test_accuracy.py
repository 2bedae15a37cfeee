"""``bench.accuracy`` on its real tasks, a small part of each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench import accuracy


@pytest.mark.parametrize("task", ["kws", "digits"])
def test_a_pattern_of_each_task(task: str, tmp_path: Path, data_dir: Path) -> None:
    out = tmp_path / "accuracy.json"
    assert accuracy.main(
        ["--models", task, "--patterns", "unstructured", "--methods", "random,magnitude", "--sparsity", "0.4",
         "--splits", "2", "--json", str(out)]
    ) == 0  # fmt: skip
    dense, by_chance, by_magnitude = map(json.loads, out.read_text().splitlines())
    assert [len(row["accuracy"]) for row in (dense, by_chance, by_magnitude)] == [2, 2, 2]
    assert np.mean(dense["accuracy"]) > np.mean(by_magnitude["accuracy"]) - 0.5
    assert np.mean(by_magnitude["accuracy"]) > np.mean(by_chance["accuracy"]) + 10


def test_those_that_judge_do_not_calibrate(data_dir: Path) -> None:
    for split in accuracy.keywords(2).splits:
        both = np.concatenate([split.calibration["input_1"], split.inputs["input_1"]])
        assert len(both) == 700 and len(split.labels) == 400
        assert len(np.unique(both.reshape(len(both), -1), axis=0)) >= 690  # a few recordings are in the data twice
