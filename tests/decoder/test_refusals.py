"""Decoders and bundles that are damaged or not what they say: refused in words, before anything is written."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse import cli
from edgesparse.decoder.checkpoint import load_checkpoint
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.files import save_decoder
from edgesparse.decoder.model import Decoder, InputRule
from edgesparse.decoder.onnx_model import decoder_of
from edgesparse.decoder.to_onnx import to_onnx
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.inspect import weight_warnings
from edgesparse.manifest import read_manifest
from edgesparse.runtimes.generation import Request, facts_of, options
from edgesparse.runtimes.library import aligned
from edgesparse.types import Array
from tests.decoder import hf_model
from tests.decoder.made import decoder, load_decoder, with_rules, written


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_decoder(decoder(vocabulary=256), "host", tmp_path_factory.mktemp("lm") / "lm.edge", weights="f32")


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["edgesparse", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(value: float, data_dir: Path, tmp_path: Path) -> None:
    data = bytearray((data_dir / "aidreams260k/aidreams260K.bin").read_bytes())
    struct.pack_into("<f", data, 28 + 4 * 70_000, value)
    path = tmp_path / "lm.bin"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"of block . holds NaN or infinite values"):
        load_checkpoint(path)


def damaged(what: str, value: float, made: Decoder) -> Decoder:
    """One weight of up, one gain of a norm, one number of the final norm, or what embeddings are multiplied by."""
    block = made.blocks[0]
    if what == "embedding_scale":
        return replace(made, embedding_scale=value)
    if what == "the final norm":
        return replace(made, final_norm=spoilt(made.final_norm, value))
    if what == "mlp_norm of block 0":
        block = replace(block, mlp_norm=spoilt(block.mlp_norm, value))
    else:
        block = replace(block, up=replace(block.up, weight=spoilt(block.up.weight, value)))
    return replace(made, blocks=(block, *made.blocks[1:]))


def spoilt(array: Array, value: float) -> Array:
    array = array.copy()
    array.flat[7] = value
    return array


@pytest.mark.parametrize(
    "command",
    [("compile", "--weights", "f32"), ("compile", "--weights", "int8"), ("inspect",),
     ("calibrate-activations", "--sparsity", "0.5", "--text"),
     ("sparsify", "--pattern", "block:4x16", "--sparsity", "0.5", "--text")],
    ids=lambda command: " ".join(command[:3]),
)  # fmt: skip
@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("weight of up of block 0", np.nan),
        ("mlp_norm of block 0", np.inf),
        ("the final norm", -np.inf),
        ("embedding_scale", np.nan),
    ],
)
def test_every_command_refuses_weights_that_are_no_numbers(
    what: str, value: float, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, out, text = written(tmp_path, damaged(what, value, decoder(vocabulary=256))), tmp_path / "out", tmp_path / "t"
    text.write_bytes(np.random.default_rng(0).integers(256, size=1000, dtype=np.uint8).tobytes())
    given = [text] if command[-1] == "--text" else []
    output = [] if command[0] == "inspect" else ["-o", out]
    assert call(monkeypatch, *command[:1], path, *command[1:], *given, *output) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"the decoder 'made': {what} holds NaN or infinite values" in said and "copy the file again" in said
    assert not out.exists()


def test_weights_of_others_that_are_no_numbers(tmp_path: Path) -> None:
    """Not that onnxruntime computes other logits with them: NaN differs from itself."""
    model = to_onnx(damaged("weight of up of block 0", np.nan, decoder()))
    model.metadata_props.clear()
    save_decoder(model, tmp_path / "lm.onnx")
    with pytest.raises(InputError, match="weight of up of block 0 holds NaN or infinite values"):
        load_decoder(tmp_path / "lm.onnx")


@pytest.mark.parametrize("spread", [np.nan, np.inf])
def test_a_spread_that_is_no_number(spread: float) -> None:
    """Written as null it would be a rule by a threshold of 0."""
    rule = InputRule("topk", 0.5, np.zeros(1, np.float32), spread)
    with pytest.raises(InputError, match="what topk skips by is no number"):
        to_onnx(with_rules(decoder(), lambda site, inputs: rule))
    model = to_onnx(with_rules(decoder(), lambda site, inputs: replace(rule, spread=0.25)))
    node = next(node for node in model.graph if "edgesparse.rule" in node.metadata_props)
    text = node.metadata_props["edgesparse.rule"]
    node.metadata_props["edgesparse.rule"] = text.replace("0.25", json.dumps(spread))
    with pytest.raises(InputError, match="damaged metadata: spread"):
        decoder_of(model)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", ["teal", "wina", "rsparse", "topk", "cats", "chess", "random"])
def test_weights_that_are_numbers_but_too_large_to_compute_with(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = decoder(vocabulary=256)
    block = replace(made.blocks[0], up=replace(made.blocks[0].up, weight=made.blocks[0].up.weight * np.float32(1e38)))
    path = written(tmp_path, replace(made, blocks=(block, made.blocks[1])))
    (tmp_path / "t").write_bytes(np.random.default_rng(0).integers(256, size=1000, dtype=np.uint8).tobytes())
    given = ("--text", tmp_path / "t", "-o", tmp_path / "out", "--method", method, "--sparsity", "0.5")
    assert call(monkeypatch, "calibrate-activations", path, *given) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "no number" in said and "too large for floats" in said and "Warning" not in said
    assert not (tmp_path / "out").exists()


def test_masks_are_made_of_infinity(tmp_path: Path) -> None:
    constants = {"mask": np.float32(-np.inf), "w": np.array([1, np.inf], np.float32)}
    graph = ir.Graph(
        [], [], nodes=[], opset_imports={"": 18}, name="g",
        initializers=[ir.Value(name=name, const_value=ir.tensor(a)) for name, a in constants.items()],
    )  # fmt: skip
    assert weight_warnings(ir.Model(graph, ir_version=10)) == ("weight 'w' holds 1 NaN or infinite value",)


@pytest.mark.parametrize("said", [{"eos_token_id": -3}, {"eos_token_id": [2, 300]}, {"bos_token_id": 300}])
def test_tokens_outside_of_the_vocabulary(said: dict[str, Any], tmp_path: Path) -> None:
    config = {**hf_model.BASE, **said}
    folder = hf_model.write(tmp_path / "lm", config, hf_model.random_tensors(config))
    with pytest.raises(InputError, match="in a vocabulary of 300"):
        load_checkpoint(folder)


@pytest.mark.parametrize(("stops", "what"), [([70], "the vocabulary has 70"), ([-1], "greater than or equal to 0")])
def test_metadata_with_tokens_outside_of_the_vocabulary(stops: list[int], what: str) -> None:
    model = to_onnx(decoder())
    facts = json.loads(model.metadata_props["edgesparse.decoder"])
    model.metadata_props["edgesparse.decoder"] = json.dumps({**facts, "stops": stops})
    with pytest.raises(InputError, match=what):
        decoder_of(model)


@pytest.mark.parametrize(
    "said", [{"blocks": 10**9}, {"blocks": 1}, {"chunk": 33}, {"vocabulary": 70}, {"bos": 256}, {"stops": [256]}]
)
def test_a_manifest_that_contradicts_itself(said: dict[str, Any], bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "lm.edge")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["decoder"].update(said)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="does not fit its inputs and outputs"):
        facts_of(read_manifest(copy), copy)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("word", "--max-tokens", "0"), "--max-tokens: 0"),
        (("word", "--temperature", "nan"), "--temperature: nan"),
        (("", "--seed", "1"), "the prompt is empty"),
        (("word " * 20,), "the context is 32"),
    ],
)
def test_nothing_is_written_before_the_error(
    words: tuple[str, ...], what: str, bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "generate", bundle, *words) == 2
    out, err = capfd.readouterr()
    assert out == "" and what in err


def test_a_prompt_that_is_no_utf8_is_json(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["edgesparse", "generate", str(bundle), "\udcff", "--max-tokens", "2", "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    assert json.loads(capfd.readouterr().out)["prompt"] == "\udcff"


def test_temperatures_that_are_hardly_any(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    found = []
    for heat in ("0", "1e-30", "1e-38"):
        call(monkeypatch, "generate", bundle, "word", "--max-tokens", "8", "--temperature", heat, "--json")
        found.append(json.loads(capfd.readouterr().out)["tokens"])
    assert found[0] == found[1] == found[2] and 0 not in found[0]


@pytest.mark.parametrize(("heat", "top_p"), [(1e-38, 1e-12), (0.1 + 0.2, 1 / 3), (1e12, 1.0)])
def test_programs_take_the_same_numbers(bundle: Path, heat: float, top_p: float) -> None:
    """In digits, for they read no exponents."""
    words = options(facts_of(read_manifest(bundle), bundle), Request(temperature=heat, top_p=top_p))
    said = [words[words.index(name) + 1] for name in ("--temperature", "--top-p")]
    assert [float(x) for x in said] == [heat, top_p] and not set("".join(said)) - set("0123456789.")


def test_more_memory_than_there_is() -> None:
    with pytest.raises(RuntimeFailure, match="GB of memory"):
        aligned(1 << 60)
    with pytest.raises(InputError, match="a context of 3000000000 positions"):
        compile_decoder(decoder(), context=3_000_000_000)


@pytest.mark.parametrize("command", ["explain", "size", "whatif"])
def test_commands_that_do_not_know_language_models(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    save_decoder(to_onnx(decoder()), tmp_path / "lm.onnx")
    assert call(monkeypatch, command, tmp_path / "lm.onnx") == 2
    assert "the model is a language model" in capfd.readouterr().err
