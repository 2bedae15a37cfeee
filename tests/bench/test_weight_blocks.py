"""bench.weight_blocks: every way to choose blocks, on a small network, and its table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.sections import section
from bench.weight_blocks import NAMES, measure
from tests.decoder.made import decoder as made


def test_every_way_is_compiled_and_judged() -> None:
    model = made(vocabulary=64, dim=64, hidden=96)
    windows = np.random.default_rng(0).integers(0, 64, (30, 32))
    rows = list(measure(model, windows[:24], windows[24:], [0.5]))
    assert [row["method"] for row in rows] == list(NAMES)
    dense = rows[0]
    assert dense["layouts"] == ["interleaved"] and dense["bits_per_byte"] == dense["dense_bits_per_byte"]
    for row in rows[1:]:
        assert "blocks" in row["layouts"] and row["dense_bits_per_byte"] == dense["bits_per_byte"]
        assert row["bytes_per_token"] < 0.85 * dense["bytes_per_token"]
    common = {"what": "weight blocks", "command": "python -m bench.weight_blocks", "machine": {}}
    text = section([{**common, **row} for row in rows])
    assert text.count("\n| 50% |") == 4 and f"{dense['bits_per_byte']:.3f}" in text


def test_the_bits_are_those_of_the_network() -> None:
    """A network whose logits are all 0 foretells nothing: log2 of its vocabulary."""
    model = replace(made(vocabulary=64), final_norm=np.zeros(48, np.float32))
    windows = np.random.default_rng(0).integers(0, 64, (4, 32))
    (row,) = measure(model, windows, windows, [])
    assert row["bits_per_byte"] == pytest.approx(6.0)
