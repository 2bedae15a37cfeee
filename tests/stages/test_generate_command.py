"""Language models on the command line: compile, generate, evaluate --perplexity, and all that is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgesparse.decoder.to_onnx import to_onnx
from edgesparse.decoder.tokenizer import Tokenizer, set_tokenizer
from edgesparse.importer import save
from tests.decoder.made import decoder
from tests.decoder.test_tokenizer import byte_level
from tests.stages.conftest import Call, unread
from tests.tiny_models import linear


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    """A decoder of bytes, without a token that begins texts."""
    model = to_onnx(decoder(vocabulary=256, blocks=1, tied=False))
    set_tokenizer(model, Tokenizer.from_bytes("", b"", 256))
    path = tmp_path / "lm.onnx"
    save(model, path)
    return path


@pytest.fixture
def bundle(onnx: Path, call: Call) -> Path:
    code, _, err = call("compile", onnx, "--weights", "f32", "-o", "lm.edge")
    assert code == 0, err
    return onnx.with_name("lm.edge")


def test_compile_says_what_it_made(onnx: Path, call: Call) -> None:
    code, out, _ = call("compile", onnx, "-o", "a.edge", "--json", "--context", "20")
    facts = json.loads(out)
    assert code == 0 and facts["weights"] == "int8" and facts["context"] == 20 and facts["tokenizer"] == "bytes"
    code, out, _ = call("compile", onnx, "--weights", "int4", "-o", "b.edge")
    assert code == 0 and "int4" in out


def test_a_text_is_printed_and_its_cost_is_on_stderr(bundle: Path, call: Call) -> None:
    code, out, err = call("generate", bundle, "abc", "--max-tokens", "5", "--temperature", "2", "--seed", "4")
    assert code == 0 and out.startswith("abc") and len(out) > 5
    assert "3 tokens of the prompt" in err and "tokens/s" in err and "--max-tokens" in err
    _, again, _ = call("generate", bundle, "abc", "--max-tokens", "5", "--temperature", "2", "--seed", "4")
    assert again == out
    code, said, _ = call("generate", bundle, "abc", "--max-tokens", "5", "--json")
    facts = json.loads(said)
    assert code == 0 and len(facts["tokens"]) == 5 and facts["prompt_tokens"] == 3 and facts["stopped"] == "length"
    assert {x["site"] for x in facts["active"]} == {"q", "k", "v", "o", "gate", "up", "down"}
    assert all(x["active"] == 1 for x in facts["active"]) and facts["bytes_per_token"] > 0


@pytest.mark.parametrize(("device", "runtime"), [("host", "local"), ("browser", "node")])
def test_tokens_that_pad_the_vocabulary_write_nothing(
    device: str, runtime: str, call: Call, tmp_path: Path, require: Callable[[str], None]
) -> None:
    """A model may choose them like any other: the text is what `tokenizers` makes of the rest."""
    require("tokenizers")
    if runtime == "node":
        require("node")
    file, theirs = byte_level(tmp_path)
    known = theirs.get_vocab_size()
    padded = known + 64
    model = to_onnx(decoder(vocabulary=padded, blocks=1, tied=False))
    set_tokenizer(model, Tokenizer.from_bytes("tokenizer.json", file.read_bytes(), padded))
    save(model, tmp_path / "lm.onnx")
    assert call("compile", "lm.onnx", "--device", device, "--weights", "f32", "-o", "lm.edge")[0] == 0
    words = ("lm.edge", "he", "--temperature", "5", "--seed", "1", "--runtime", runtime, "--max-tokens", "30")
    code, said, err = call("generate", *words, "--json")
    assert code == 0, err
    facts = json.loads(said)
    drawn = facts["tokens"]
    assert len(drawn) == 30 and any(token >= known for token in drawn)
    assert facts["text"] == theirs.decode([token for token in drawn if token < known])
    assert call("generate", *words)[:2] == (0, f"he{facts['text']}\n")


def test_a_reader_who_has_seen_enough(bundle: Path) -> None:
    assert unread("generate", bundle, "abc") == (141, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("prompt", ["x = '\u00e9\U0001f642'", "\udcff"])
def test_text_that_the_terminal_cannot_show(encoding: str, prompt: str, bundle: Path) -> None:
    words = [sys.executable, "-m", "edgesparse", "generate", str(bundle), prompt, "--max-tokens", "3"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for json_too in ([], ["--json"]):
        done = subprocess.run([*words, *json_too], capture_output=True, env=environment)
        assert done.returncode == 0, done.stderr
        said = done.stdout.decode(encoding)
    assert json.loads(said)["prompt"] == prompt


def test_a_context_beyond_what_the_model_was_made_for(onnx: Path, call: Call) -> None:
    _, _, err = call("compile", onnx, "-o", "a.edge", "--context", "33")
    assert "made for 32 positions, not 33" in err
    assert "made for" not in call("compile", onnx, "-o", "b.edge", "--context", "32")[2]


def test_what_costs_are_said_where_nothing_is_decoded(bundle: Path, call: Call) -> None:
    """The first token follows from the prompt."""
    _, _, err = call("generate", bundle, "abc", "--max-tokens", "1")
    assert "tokens/s" not in err and "MB" not in err and ", then 1 (" in err
    facts = json.loads(call("generate", bundle, "abc", "--max-tokens", "1", "--json")[1])
    assert facts["decoded"] == 0 and facts["bytes_per_token"] is None


def test_a_full_context_says_so(bundle: Path, call: Call) -> None:
    code, _, err = call("generate", bundle, "abc", "--max-tokens", "60")
    assert code == 0 and "--sliding-window goes on" in err
    code, _, err = call("generate", bundle, "abc", "--max-tokens", "60", "--sliding-window")
    assert code == 0 and "ended by --max-tokens" in err
    code, _, err = call("generate", bundle, "a" * 40)
    assert code == 2 and "40 tokens, the context is 32" in err and "--sliding-window" in err


def test_how_well_a_text_is_foretold(bundle: Path, call: Call, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(np.random.default_rng(0).integers(0, 256, 100).astype(np.uint8).tobytes())
    code, out, _ = call("evaluate", bundle, "--perplexity", text, "--window", "16", "--stride", "8", "--windows", "3")
    assert code == 0 and "bits per byte" in out and "31 tokens (31 bytes) in 3 windows of 16, 8 apart" in out
    code, out, _ = call("evaluate", bundle, "--perplexity", text, "--json")
    facts = json.loads(out)
    assert code == 0 and facts["windows"] == 3 and facts["window"] == 32 and facts["bits_per_byte"] > 1
    assert facts["perplexity"] == pytest.approx(2 ** facts["bits_per_byte"])  # a token is a byte


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", "lm.edge", ""), "prompt is empty"),
        (("generate", "lm.edge", "a", "--temperature", "-1"), "--temperature"),
        (("generate", "lm.edge", "a", "--top-p", "0"), "--top-p"),
        (("generate", "lm.edge", "a", "--top-p", "1.5"), "--top-p"),
        (("generate", "lm.edge", "a", "--max-tokens", "0"), "--max-tokens"),
        (("generate", "nothing.edge", "a"), "not a bundle"),
        (("evaluate", "lm.edge", "--perplexity", "nothing.txt"), "no such file"),
        (("evaluate", "lm.edge", "--perplexity", "x.npz", "--against", "b", "--metric", "map", "--output-name", "y"),
         "no use for --against, --metric, --output-name"),
        (("evaluate", "lm.edge", "--perplexity", "x.npz", "--data", "x.npz"), "no use for --data"),
        (("evaluate", "lm.edge", "--data", "x.npz", "--window", "5", "--stride", "3", "--windows", "2", "--dense"),
         "no use for --window, --stride, --windows, --dense"),
        (("evaluate", "lm.edge"), "nothing to evaluate on"),
        (("run", "lm.edge", "--input", "x.npz", "-o", "y.npz"), "edgesparse generate"),
        (("bench", "lm.edge"), "edgesparse generate"),
        (("profile", "lm.edge"), "edgesparse generate"),
        (("size", "lm.edge"), "edgesparse explain lm.edge"),
        (("view", "lm.edge", "-o", "lm.html"), "edgesparse explain lm.edge"),
        (("compile", "lm.onnx", "--weights", "int3", "-o", "b.edge"), "int3"),
        (("compile", "lm.onnx", "--weights", "", "-o", "b.edge"), "weights"),
        (("compile", "lm.onnx", "--storage", "int8", "--device", "browser", "-o", "b.edge"), "--weights"),
    ],
)  # fmt: skip
def test_what_is_refused(words: tuple[str, ...], said: str, bundle: Path, call: Call) -> None:
    np.savez("x.npz", tokens=np.zeros(37, np.int32), sampling=np.zeros(2, np.float32))
    code, _, err = call(*words)
    assert code == 2 and said in err and "\n  hint: " in err


def test_other_networks_are_told_to_run(call: Call, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(linear().SerializeToString())
    assert call("compile", "net.onnx", "-o", "net.edge")[0] == 0
    code, _, err = call("generate", "net.edge", "a")
    assert code == 2 and "edgesparse run net.edge" in err
    code, _, err = call("compile", "net.onnx", "-o", "b.edge", "--weights", "int8")
    assert code == 2 and "for language models" in err


def test_without_a_tokenizer_there_is_a_warning_and_no_text(call: Call, tmp_path: Path) -> None:
    save(to_onnx(decoder(blocks=1)), tmp_path / "lm.onnx")
    code, out, err = call("compile", "lm.onnx", "-o", "lm.edge")
    assert code == 0 and "no tokenizer" in err and ["tokenizer", "none"] in [line.split() for line in out.splitlines()]
    code, _, err = call("generate", "lm.edge", "a")
    assert code == 2 and "no tokenizer" in err
