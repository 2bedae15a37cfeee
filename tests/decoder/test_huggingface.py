"""Folders of Hugging Face: every family computes what its architecture says; damaged ones are refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesparse.decoder import reference
from edgesparse.decoder.checkpoint import load_checkpoint
from edgesparse.decoder.recognise import recognise
from edgesparse.decoder.to_onnx import to_onnx
from edgesparse.errors import InputError
from tests.decoder import hf_model
from tests.decoder.hf_model import CONFIGS, config_of, random_tensors, write
from tests.decoder.onnx_session import OnnxSession

TOKENS = np.random.default_rng(5).integers(0, 300, 24)


@pytest.fixture(autouse=True)
def packages(require: Callable[[str], None]) -> None:
    require("safetensors")


@pytest.mark.parametrize("name", CONFIGS)
def test_architectures(name: str, tmp_path: Path, require: Callable[[str], None]) -> None:
    require("torch")
    config = config_of(name)
    tensors = random_tensors(config)
    wanted = hf_model.logits(config, tensors, TOKENS.tolist())
    decoder = load_checkpoint(write(tmp_path / "lm", config, tensors))
    np.testing.assert_allclose(reference.logits(decoder, TOKENS[None])[0], wanted, atol=1e-4)
    model = to_onnx(decoder)
    for found in OnnxSession(model).both_ways(TOKENS):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    again = recognise(model)
    assert [b.window for b in again.blocks] == [hf_model.window_of(config, i) for i in range(2)]
    np.testing.assert_allclose(reference.logits(again, TOKENS[None])[0], wanted, atol=1e-4)


def test_begin_and_end(tmp_path: Path) -> None:
    """Qwen's texts begin with nothing, whatever its config says."""
    found = {}
    for name in ("llama with biases", "qwen2"):
        config = config_of(name)
        decoder = load_checkpoint(write(tmp_path / name, config, random_tensors(config)))
        found[name] = decoder.bos, decoder.stops, decoder.name
    assert found == {"llama with biases": (1, (2, 7), "llama with biases"), "qwen2": (-1, (2,), "qwen2")}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_weights(tmp_path: Path, dtype: str) -> None:
    """float16 stays, bfloat16 becomes float32, both exactly."""
    import ml_dtypes

    kind = np.dtype(np.float16) if dtype == "float16" else np.dtype(ml_dtypes.bfloat16)
    tensors = {name: array.astype(kind) for name, array in random_tensors(config_of("llama")).items()}
    decoder = load_checkpoint(write(tmp_path / "lm", config_of("llama"), tensors))
    assert decoder.embedding.dtype == (np.float16 if dtype == "float16" else np.float32)
    np.testing.assert_array_equal(
        decoder.blocks[1].down.weight.astype(np.float32),
        tensors["model.layers.1.mlp.down_proj.weight"].astype(np.float32),
    )
    assert decoder.final_norm.dtype == np.float32


def test_shards(tmp_path: Path) -> None:
    config, tensors = config_of("llama"), random_tensors(config_of("llama"))
    one = load_checkpoint(write(tmp_path / "one", config, tensors))
    three = load_checkpoint(write(tmp_path / "three", config, tensors, shards=3))
    assert not (tmp_path / "three" / "model.safetensors").exists()
    for a, b in zip(one.blocks, three.blocks, strict=True):
        assert all(np.array_equal(x.weight, y.weight) for (_, x), (_, y) in zip(a.linears(), b.linears(), strict=True))


def edit_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def text(name: str, content: str | bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def huge_header(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(struct.pack("<Q", 1 << 62) + file.read_bytes()[8:])


def index(place: str) -> Callable[[Path], None]:
    content = {"weight_map": {"model.norm.weight": place}}
    return text("model.safetensors.index.json", json.dumps(content))


def retype(folder: Path) -> None:
    tensors = random_tensors(config_of("llama"))
    write(folder, config_of("llama"), {**tensors, "model.norm.weight": np.zeros(32, np.int8)})


def with_more(folder: Path) -> None:
    tensors = random_tensors(config_of("llama"))
    write(folder, config_of("llama"), {**tensors, "model.layers.0.self_attn.q_norm.weight": np.zeros(8, np.float32)})


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json: no such file"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors"),
    "not JSON": (text("config.json", "{"), "not JSON"),
    "not UTF-8": (text("config.json", b"\xff\xfe{}"), "not JSON"),
    "a list": (text("config.json", "[]"), "model_type None is not known"),
    "nested too deep": (text("config.json", "[" * 100_000), "not JSON"),
    "another architecture": (edit_config(model_type="mamba"), "model_type 'mamba' is not known"),
    "a type that is a list": (edit_config(model_type=["llama"]), "is not known"),
    "a negative size": (edit_config(hidden_size=-1), "hidden_size: input should be greater than 0"),
    "a size that is text": (edit_config(hidden_size="32"), "hidden_size: input should be a valid integer"),
    "a context without end": (
        edit_config(max_position_embeddings=1 << 40), "max_position_embeddings: input should be less than or equal"),
    "another activation": (edit_config(hidden_act="mish"), "hidden_act 'mish' is not known"),
    "heads that do not share": (edit_config(num_key_value_heads=3), "4 heads do not share 3"),
    "another scaling": (edit_config(rope_scaling={"rope_type": "yarn", "factor": 2.0}), "RoPE scaled as 'yarn'"),
    "a scaling without its numbers": (
        edit_config(rope_scaling={"rope_type": "llama3", "factor": 2.0}), "RoPE's low_freq_factor is None"),
    "a scaling by nothing": (edit_config(rope_scaling={"rope_type": "linear", "factor": 0}), "RoPE's factor is 0"),
    "windows that nobody says where": (
        edit_config(model_type="qwen2", sliding_window=4, use_sliding_window=True),
        "use_sliding_window without layer_types"),
    "layer types of another number": (
        edit_config(model_type="gemma2", sliding_window=4, layer_types=["full_attention"]), "layer_types"),
    "a family whose numbers are not said": (edit_config(model_type="mistral"), "without sliding_window"),
    "RoPE by layer": (
        edit_config(rope_parameters={"full_attention": {"rope_type": "default"}}), "RoPE that differs by layer"),
    "more layers than weights": (
        edit_config(num_hidden_layers=10**9), "without tensor 'model.layers.2.input_layernorm"),
    "fewer layers than weights": (edit_config(num_hidden_layers=1), "9 tensors that this architecture does not have"),
    "another vocabulary": (edit_config(vocab_size=301), "'model.embed_tokens.weight' is (300, 32), where config.json"),
    "cut weights": (cut, "not a safetensors file"),
    "no weights at all": (text("model.safetensors", ""), "not a safetensors file"),
    "a header without end": (huge_header, "not a safetensors file"),
    "weights of bytes": (retype, "'model.norm.weight' is I8; F32, F16 and BF16 can be read"),
    "a norm that nobody would read": (with_more, "1 tensors that this architecture does not have"),
    "an index outside of the folder": (index("../model.safetensors"), "is no weight file in this folder"),
    "an absolute index": (index("/etc/passwd"), "is no weight file in this folder"),
    "an index to nowhere": (index("other.safetensors"), "is no weight file in this folder"),
    "an index of numbers": (
        text("model.safetensors.index.json", '{"weight_map": {"a": 1}}'), "not an index of weights"),
    "an index of nothing": (text("model.safetensors.index.json", "{}"), "not an index of weights"),
    "an index that lies": (
        text("model.safetensors.index.json", '{"weight_map": {"nothing": "model.safetensors"}}'),
        "without tensor 'nothing'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_damaged(name: str, tmp_path: Path) -> None:
    change, what = BAD[name]
    folder = write(tmp_path / "lm", config_of("llama"), random_tensors(config_of("llama")))
    change(folder)
    with pytest.raises(InputError) as error:
        load_checkpoint(folder)
    assert what in f"{error.value.where}: {error.value.what}"
    assert str(tmp_path) in error.value.where and error.value.exit_code == 2


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "lm", config_of("llama"), random_tensors(config_of("llama")))
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(InputError) as error:
        load_checkpoint(folder)
    assert error.value.what == "safetensors is not installed" and "pip install safetensors" in error.value.hint
