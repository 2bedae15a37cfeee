"""`edgesparse import-llm` as it is called: one file that is enough, and errors without a traceback."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from edgesparse import cli
from edgesparse.decoder import reference
from edgesparse.decoder.checkpoint import load_checkpoint
from tests.decoder import hf_model
from tests.decoder.made import load_decoder


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code."""
    monkeypatch.setattr(sys, "argv", ["edgesparse", "import-llm", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("checkpoint", "parameters", "vocabulary", "tokenizer"),
    [("aidreams260k/aidreams260K.bin", 230_400, 512, "tokenizer.bin"), ("pylm", 4_415_488, 256, "bytes")],
)
def test_one_file_is_enough(
    checkpoint: str, parameters: int, vocabulary: int, tokenizer: str, data_dir: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "lm.onnx"
    assert call(monkeypatch, data_dir / checkpoint, "-o", out, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert [p.name for p in tmp_path.iterdir()] == ["lm.onnx"] and facts["bytes"] == out.stat().st_size
    assert (facts["parameters"], facts["vocabulary"], facts["tokenizer"]) == (parameters, vocabulary, tokenizer)
    decoder, found = load_decoder(out)
    wanted = load_checkpoint(data_dir / checkpoint)
    assert found is not None and (found.file_name or "bytes") == tokenizer
    tokens = np.array([[wanted.bos, *found.encode("for the nodes")]])
    np.testing.assert_allclose(reference.logits(decoder, tokens), reference.logits(wanted, tokens), atol=1e-4)


def test_a_tokenizer_from_elsewhere(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {**hf_model.BASE, "vocab_size": 512}
    folder = hf_model.write(tmp_path / "lm", config, hf_model.random_tensors(config))
    assert call(monkeypatch, folder, "-o", tmp_path / "lm.onnx") == 2
    assert "no tokenizer beside it" in capsys.readouterr().err
    tokens = data_dir / "aidreams260k" / "tok512.bin"
    assert call(monkeypatch, folder, "--tokenizer", tokens, "-o", tmp_path / "lm.onnx") == 0
    assert "512 tokens (tokenizer.bin), context 64" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("{data}/pylm", "--tokenizer", "{data}/aidreams260k/tok512.bin"), "512 tokens, where the model has 256"),
        (("{data}/pylm", "--tokenizer", "{data}/nothing.bin"), "nothing.bin: no such file"),
        (("{data}/aidreams260k/tok512.bin",), "no llama2.c file"),
        (("{data}/kws",), "config.json: no such file"),
        (("{data}/nothing",), "no such file or folder"),
    ],
)
def test_errors(
    arguments: tuple[str, ...], what: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given = [argument.format(data=data_dir) for argument in arguments]
    assert call(monkeypatch, *given, "-o", tmp_path / "lm.onnx") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and what in error and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_kept(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lm.onnx").write_text("mine")
    assert call(monkeypatch, data_dir / "pylm", "-o", tmp_path / "lm.onnx") == 2
    assert (tmp_path / "lm.onnx").read_text() == "mine"
    assert call(monkeypatch, data_dir / "pylm", "-o", tmp_path / "lm.onnx", "--force") == 0
