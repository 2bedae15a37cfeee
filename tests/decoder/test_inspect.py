"""`inspect` of a language model tells its sizes, not operators that no command needs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgesparse.cli import app
from edgesparse.decoder.model import InputRule
from edgesparse.decoder.to_onnx import to_onnx
from edgesparse.importer import save
from tests.decoder.made import decoder, with_rules


def test_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = InputRule("teal", 0.5, np.array([0.5], np.float32))
    model = with_rules(decoder(tied=False, windows=(8, 0)), lambda site, inputs: rule)
    save(to_onnx(model), tmp_path / "lm.onnx")
    app(["inspect", str(tmp_path / "lm.onnx"), "--json"], standalone_mode=False)
    said = json.loads(capsys.readouterr().out)["decoder"]
    linear = 2 * (2 * 64 * 48 + 2 * 32 * 48 + 3 * 80 * 48)
    assert (said["linear_weights"], said["table_weights"]) == (linear, 2 * 70 * 48)
    assert said["cache_bytes"] == (8 + 32) * 2 * 2 * 16 * 4  # positions, keys and values, heads, floats
    assert said["rules"] == {"method": "teal", "sparsity": 0.5} and not said["tied"] and said["gated"]

    app(["inspect", str(tmp_path / "lm.onnx")], standalone_mode=False)
    table = " ".join(capsys.readouterr().out.split())
    assert f"{linear:,} in linear layers, 6,720 in the embedding and the head" in table
    assert "70 tokens, tokenizer: none" in table and "teal, 50% left out" in table and "Zeros" not in table


def test_zeros_of_each_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = decoder(blocks=1)
    down = model.blocks[0].down
    down.weight[:4, :16] = 0  # a block
    down.weight[8, :32] = 0  # none
    save(to_onnx(model), tmp_path / "lm.onnx")
    app(["inspect", str(tmp_path / "lm.onnx"), "--json"], standalone_mode=False)
    rows = {row["site"]: row for row in json.loads(capsys.readouterr().out)["layers"]}
    size = down.weight.size
    assert rows["down"] == {"block": 0, "site": "down", "zeros": 96 / size, "zero_blocks": pytest.approx(64 / size)}
    assert len(rows) == 7 and rows["q"]["zeros"] == 0
    app(["inspect", str(tmp_path / "lm.onnx")], standalone_mode=False)
    assert ["0.down", f"{9600 / size:.1f}", f"{6400 / size:.1f}"] in map(
        str.split, capsys.readouterr().out.splitlines()
    )
