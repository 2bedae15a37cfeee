"""Decoders of every kind to ONNX: onnxruntime computes what the reference does, and it is read back as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.decoder import files, reference
from edgesparse.decoder.files import save_decoder
from edgesparse.decoder.model import Block, Decoder, InputRule, Linear, NeuronRule
from edgesparse.decoder.recognise import linears_of, recognise
from edgesparse.decoder.to_onnx import to_onnx
from edgesparse.errors import EdgeSparseError, InputError
from edgesparse.importer import load, save
from edgesparse.passes.pipeline import simplify
from tests.decoder.made import decoder, load_decoder, with_rules
from tests.decoder.onnx_session import OnnxSession

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "untied": {"tied": False},
    "every head has keys": {"kv_heads": 4},
    "one head has keys": {"kv_heads": 1},
    "biases": {"bias": True},
    "norms of heads": {"qk_norm": True},
    "norms behind": {"post_norm": True},
    "windows": {"windows": (5, 0)},
    "two windows": {"windows": (5, 7)},
    "interleaved": {"interleaved": True},
    "a part of the head turns": {"rotary": 8},
    "no gate, ReLU": {"gate": False, "activation": "relu"},
    "GELU": {"activation": "gelu"},
    "GELU by tanh": {"activation": "gelu_tanh"},
    "soft caps": {"attention_cap": 2.0, "logit_cap": 3.0},
    "scales": {"attention_scale": 0.1, "embedding_scale": 3.5},
    "predictor": {"predictor": 16, "activation": "gelu_tanh"},
    "Gemma 2": {
        "post_norm": True, "windows": (6, 0), "attention_cap": 2.0, "logit_cap": 3.0, "activation": "gelu_tanh",
        "embedding_scale": 7.0,
    },
    "begins and ends": {"bos": 1, "stops": (2, 3), "dense_positions": 0},
}  # fmt: skip


def halved(made: Decoder) -> Decoder:
    def half(layer: Linear) -> Linear:
        return replace(layer, weight=layer.weight.astype(np.float16))

    return with_layers(replace(made, embedding=made.embedding.astype(np.float16)), lambda site, layer: half(layer))


def with_layers(made: Decoder, change: Callable[[str, Linear], Linear]) -> Decoder:
    blocks = []
    for block in made.blocks:
        changed: dict[str, Any] = {site: change(site, layer) for site, layer in block.linears()}
        blocks.append(replace(block, **changed))
    return replace(made, blocks=tuple(blocks))


def check_same(wanted: Decoder, found: Decoder) -> None:
    for field in fields(Decoder):
        check_value(field.name, getattr(wanted, field.name), getattr(found, field.name))


def check_value(name: str, wanted: Any, found: Any) -> None:
    if isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype and found.shape == wanted.shape, name
        np.testing.assert_allclose(found, wanted, rtol=1e-6 if name == "frequencies" else 0, err_msg=name)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-6), name  # attributes of ONNX are float32
    elif isinstance(wanted, Block | Linear | InputRule | NeuronRule):
        for field in fields(wanted):
            check_value(f"{name}.{field.name}", getattr(wanted, field.name), getattr(found, field.name))
    elif isinstance(wanted, tuple):
        for index, (one, two) in enumerate(zip(wanted, found, strict=True)):
            check_value(f"{name}[{index}]", one, two)
    else:
        assert found == wanted, name


def reread(model: ir.Model) -> ir.Model:
    return ir.from_proto(ir.to_proto(model))


@pytest.mark.parametrize("kind", KINDS)
def test_onnxruntime_computes_the_reference(kind: str) -> None:
    made = decoder(**KINDS[kind])
    tokens = np.random.default_rng(1).integers(0, made.vocabulary, 20)
    wanted = reference.logits(made, tokens[None])[0]
    model = to_onnx(made)
    for found in OnnxSession(model).both_ways(tokens):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    check_same(made, recognise(reread(model)))


def test_halves_stay_halves() -> None:
    made = halved(decoder(tied=True))
    model = to_onnx(made)
    tokens = np.arange(20)
    for found in OnnxSession(model).both_ways(tokens):
        np.testing.assert_allclose(found, reference.logits(made, tokens[None])[0], atol=1e-4)
    check_same(made, recognise(reread(model)))


def ruled() -> Decoder:
    rng = np.random.default_rng(3)

    def rule(site: str, inputs: int) -> InputRule | None:
        if site in ("k", "v"):
            return None
        per_channel = rng.random(inputs if site in ("q", "o") else 1).astype(np.float32)
        return InputRule("cats", 0.4, per_channel, 0.5 if site == "gate" else None, 3 if site == "o" else 0)

    return with_rules(decoder(), rule, NeuronRule("chess", 0.6, rng.random(80).astype(np.float32)))


def test_rules_travel_and_do_not_change_what_other_runtimes_compute() -> None:
    made = ruled()
    model = to_onnx(made)
    check_same(made, recognise(reread(model)))
    dense = decoder()
    tokens = np.arange(12)
    np.testing.assert_allclose(OnnxSession(model)(*tokens), reference.logits(dense, tokens[None])[0], atol=1e-4)


def test_rules_survive_our_own_passes(tmp_path: Path) -> None:
    """Folding turns halves into floats and transposes the head; the weights are the same."""
    rule = InputRule("teal", 0.5, np.array([0.25], np.float32))
    made = with_layers(
        halved(decoder()), lambda site, layer: replace(layer, rule=rule) if site in ("q", "up") else layer
    )
    model = to_onnx(made)
    simplify(model)
    save(model, tmp_path / "m.onnx")
    found = recognise(load(tmp_path / "m.onnx"))
    assert found.head is None
    for block in found.blocks:
        assert {site for site, layer in block.linears() if layer.rule is not None} == {"q", "up"}


def test_thresholds_of_another_model() -> None:
    model = to_onnx(ruled())
    weight = next(v for name, v in model.graph.initializers.items() if name == "layers.1.down.weight")
    assert weight.const_value is not None
    changed = weight.const_value.numpy().copy()
    changed[0, 0] += 1
    weight.const_value = ir.tensor(changed, name=weight.name)
    with pytest.raises(InputError, match="thresholds of another model"):
        recognise(model)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda text: text[:-1], "damaged metadata"),
        (lambda text: text.replace('"threshold":"', '"threshold":"!'), "threshold"),
        (lambda text: text.replace('"sparsity":0.4', '"sparsity":7'), "sparsity"),
        (lambda text: '{"method":"x","sparsity":0.5,"threshold":"AACAvw=="}', "thresholds that are no sizes"),
        (lambda text: '{"method":"x","sparsity":0.5,"threshold":"AACAPwAAgD8="}', "2 thresholds for 48 values"),
    ],
)
def test_damaged_rules(damage: Any, what: str) -> None:
    model = to_onnx(ruled())
    properties = linears_of(model)[0, "q"].metadata_props
    properties["edgesparse.rule"] = damage(properties["edgesparse.rule"])
    with pytest.raises(InputError, match=what):
        recognise(model)


@pytest.mark.parametrize(("key", "value"), [("context", "0"), ("context", "1000"), ("bos", "-7"), ("stops", '"x"')])
def test_damaged_facts(key: str, value: str) -> None:
    model = to_onnx(decoder())
    facts = {"name": '"x"', "context": "32", "bos": "1", "stops": "[2]", key: value}
    model.metadata_props["edgesparse.decoder"] = "{" + ",".join(f'"{k}":{v}' for k, v in facts.items()) + "}"
    with pytest.raises(EdgeSparseError, match=f"{key}|tables of 32 positions"):
        recognise(model)


@pytest.mark.parametrize("limit", [None, 1000])
def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None) -> None:
    """Also with weights beside the model, as models have them that protobuf would not hold."""
    if limit is not None:
        monkeypatch.setattr(files, "LARGEST_BYTES", limit)
    made = ruled()
    written = save_decoder(to_onnx(made), tmp_path / "lm.onnx")
    assert [p.name for p in written] == (["lm.onnx"] if limit is None else ["lm.onnx", "lm.onnx.data"])
    assert sorted(tmp_path.iterdir()) == sorted(written)
    found, tokenizer = load_decoder(tmp_path / "lm.onnx")
    check_same(made, found)
    assert tokenizer is None


@pytest.mark.parametrize("folds", [False, True])
def test_weights_of_others_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: bool) -> None:
    """Which are run once, to see whether they were read right; with weights as stored, or folded by our passes."""
    monkeypatch.setattr(files, "LARGEST_BYTES", 1000)
    made = halved(decoder())
    model = to_onnx(made)
    if folds:
        simplify(model)
    model.metadata_props.clear()
    save_decoder(model, tmp_path / "lm.onnx")
    found, _ = load_decoder(tmp_path / "lm.onnx")
    tokens = np.arange(10)[None]
    np.testing.assert_allclose(reference.logits(found, tokens), reference.logits(made, tokens), atol=1e-4)
