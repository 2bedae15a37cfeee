"""`calibrate-activations`: what it writes, what it says, what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from edgesparse.cli import app
from edgesparse.decoder.model import InputRule, NeuronRule
from edgesparse.decoder.perplexity import Score, doubt
from edgesparse.errors import EdgeSparseError, InputError
from edgesparse.importer import load, save
from tests.decoder.made import decoder as made
from tests.decoder.made import load_decoder, written


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    return written(tmp_path, made(vocabulary=256))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_bytes(np.random.default_rng(0).integers(256, size=1000, dtype=np.uint8).tobytes())
    return path


def run(*arguments: object) -> None:
    app(["calibrate-activations", *map(str, arguments)], standalone_mode=False)


@pytest.mark.parametrize("method", ["teal", "wina", "rsparse", "topk", "random"])
def test_rules_of_inputs_are_in_the_file(
    method: str, onnx: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sparse.onnx"
    run(onnx, "--method", method, "--sparsity", 0.5, "--text", text, "-o", out, "--json", "--dense-positions", 3)
    said = json.loads(capsys.readouterr().out)
    assert said["method"] == method and said["sparsity"] == pytest.approx(0.5, abs=0.06)
    assert said["window"] == 32 and said["calibrating_windows"] == 24 and said["judging_windows"] == 7
    assert said["bytes_per_token"] < said["dense_bytes_per_token"] and len(said["layers"]) == 14
    decoder, _ = load_decoder(out)
    assert decoder.dense_positions == 3
    for block in decoder.blocks:
        for _, layer in block.linears():
            assert isinstance(layer.rule, InputRule) and layer.rule.method == method


def test_rules_of_neurons_are_in_the_file_which_runs_densely_elsewhere(onnx: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "sparse.onnx"
    run(onnx, "--method", "chess", "--sparsity", 0.5, "--text", text, "-o", out)
    decoder, _ = load_decoder(out)
    assert all(isinstance(block.neurons, NeuronRule) for block in decoder.blocks)
    assert all(block.q.rule and block.o.rule and not block.down.rule for block in decoder.blocks)
    feeds = {"input_ids": np.arange(6)[None], "position_ids": np.arange(6)[None]}
    answers = []
    for path in (onnx, out):
        session = onnxruntime.InferenceSession(path)
        for value in session.get_inputs()[2:]:
            feeds[value.name] = np.zeros((1, 2, 0, 16), np.float32)
        answers.append(session.run(["logits"], feeds)[0])
    np.testing.assert_array_equal(answers[0], answers[1])


def test_calibrating_again_replaces_rules_even_of_other_weights(onnx: Path, text: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "sparse.onnx", tmp_path / "other.onnx"
    run(onnx, "--method", "teal", "--sparsity", 0.5, "--text", text, "-o", out)
    model = load(out)
    weight = next(v for v in model.graph.initializers.values() if v.shape is not None and v.shape == (48, 80))
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.5), name=weight.name)
    save(model, other)
    with pytest.raises(InputError, match="thresholds of another model"):
        load_decoder(other)
    run(other, "--method", "cats", "--sparsity", 0.5, "--text", text, "-o", out, "--force")
    decoder, _ = load_decoder(out)
    assert all(block.neurons and not block.q.rule for block in decoder.blocks)


def test_tables(onnx: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(onnx, "--method", "wina", "--allocation", "network", "--sparsity", 0.3, "--text", text, "-o",
        tmp_path / "sparse.onnx", "--report")  # fmt: skip
    said = capsys.readouterr().out
    for word in ("1.gate", "bits per byte", "PPL-1% sparsity", "not zero %", "the first 2 positions stay dense"):
        assert word in said


def test_relu_needs_no_sparsity(tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = written(tmp_path, made(vocabulary=256, activation="relu"))
    run(onnx, "--method", "relu", "--text", text, "-o", tmp_path / "sparse.onnx", "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["bits_per_byte"] == said["dense_bits_per_byte"]
    assert 0.1 < said["sparsity"] < 0.6


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("arguments", ["", "--allocation uniform --report", "--allocation network"])
@pytest.mark.parametrize("method", ["teal", "wina", "rsparse"])
def test_a_block_that_adds_nothing(
    method: str, arguments: str, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As pruned ones do: an error relative to what it adds is 0 / 0, a threshold by the norms of its weights, too."""
    first, last = made(vocabulary=256).blocks
    o, down = (replace(layer, weight=np.zeros_like(layer.weight)) for layer in (last.o, last.down))
    onnx = written(tmp_path, replace(made(vocabulary=256), blocks=(first, replace(last, o=o, down=down))))
    out = tmp_path / "sparse.onnx"
    run(onnx, "--method", method, "--sparsity", 0.5, "--text", text, "-o", out, "--json", *arguments.split())
    said = json.loads(capsys.readouterr().out)
    assert said["sparsity"] > 0.45 and np.isfinite(said["bits_per_byte"])
    decoder, _ = load_decoder(out)
    if method != "teal" and decoder.blocks[1].o.rule is not None:  # none of its weights is of use
        assert decoder.blocks[1].o.rule.sparsity == 1 and np.isinf(decoder.blocks[1].o.rule.threshold).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--sparsity 1.0", "is not from 0 to less than 1"),
        ("--sparsity -0.5", "is not from 0 to less than 1"),
        ("--method wina", "how much is to be skipped"),
        ("--sparsity 0.5 --method relu", "activation of 'made' is silu"),
        ("--sparsity 0.5 --method best", "no method 'best'"),
        ("--sparsity 0.5 --allocation best", "no allocation 'best'"),
        ("--sparsity 0.5 --method cats --allocation block", "same share everywhere"),
        ("--sparsity 0.5 --window 33", "the context of 'made' is 32"),
        ("--sparsity 0.5 --window 1", "foretell nothing"),
        ("--sparsity 0.5 --windows 0", "no window to calibrate on"),
        ("--sparsity 0.5 --dense-positions 32", "the first 32 stay dense"),
    ],
)
def test_refused(arguments: str, message: str, onnx: Path, text: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeSparseError, match=message):
        run(onnx, *arguments.split(), "--text", text, "-o", tmp_path / "sparse.onnx")
    assert not (tmp_path / "sparse.onnx").exists()


@pytest.mark.parametrize(
    ("size", "message"), [(0, "a text of 0 tokens"), (1, "a text of 1 token"), (31, "31 tokens, a window 32"),
                          (40, "one window of 32 tokens")],
)  # fmt: skip
def test_texts_that_are_too_short(size: int, message: str, onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_bytes(b"a" * size)
    with pytest.raises(InputError, match=message) as caught:
        run(onnx, "--sparsity", 0.5, "--text", tmp_path / "short.txt", "-o", tmp_path / "sparse.onnx")
    assert caught.value.where == "--text" and caught.value.hint.startswith("give a longer text")


def test_a_text_of_another_kind_than_the_model_was_trained_on(
    onnx: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To a network that was not trained, any is: it is sure of what it knows nothing of."""
    run(onnx, "--sparsity", 0.5, "--text", text, "-o", tmp_path / "s.onnx")
    assert "foretells the text worse than chance (perplexity" in " ".join(capsys.readouterr().err.split())
    assert not doubt(Score(8.0, 1, 1), 256) and doubt(Score(8.1, 1, 1), 256)


def test_networks_without_gates_and_without_tokenizers(text: Path, tmp_path: Path) -> None:
    onnx = written(tmp_path, made(vocabulary=256, gate=False))
    with pytest.raises(InputError, match="has none"):
        run(onnx, "--method", "cats", "--sparsity", 0.5, "--text", text, "-o", tmp_path / "sparse.onnx")
    onnx = written(tmp_path, made(vocabulary=70))
    with pytest.raises(InputError, match="no tokenizer"):
        run(onnx, "--sparsity", 0.5, "--text", text, "-o", tmp_path / "sparse.onnx")
    with pytest.raises(InputError, match="cannot be read"):
        run(onnx, "--sparsity", 0.5, "--text", tmp_path / "none.txt", "-o", tmp_path / "sparse.onnx")
