"""Language models in WebAssembly are timed in node.js and Chromium, and the rows say what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import llm_web
from edgesparse.decoder.tokenizer import Tokenizer
from tests.conftest import require


@pytest.mark.parametrize("place", llm_web.PLACES)
def test_rows(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require(place)
    if place == "chromium":
        require("playwright")
    out = tmp_path / "rows.json"
    words = ["--shapes", "tiny", "--in", place, "--tokens", "12", "--rounds", "2", "--json", str(out)]
    assert llm_web.main(words) == 0, capsys.readouterr().err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(r["where"], r["build"]) for r in rows] == [(place, "relaxed"), (place, "simd128")]
    for row in rows:
        assert row["model"] == "tiny" and row["weights"] == "int4" and row["decoded"] == 11
        assert len(row["tokens_s"]) == len(row["prompt_ms"]) == 2 and min(row["tokens_s"]) > 0
        assert row["bytes_per_token"] > 0 and row["prompt_tokens"] == len(llm_web.PROMPT)
        assert ("resident_bytes" in row) == (place == "node")


def test_the_vocabulary_of_shapes() -> None:
    found = Tokenizer.from_bytes("tokenizer.bin", llm_web.made_tokenizer(1000), 1000)
    assert found.decode(found.encode(llm_web.PROMPT)) == llm_web.PROMPT.encode()
