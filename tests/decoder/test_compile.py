"""Compiled decoders against the reference in NumPy: every kind of block and every rule, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesparse import runtimes
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.gqsa import gqsa
from edgesparse.decoder.model import Block, Decoder, InputRule, Linear, NeuronRule
from edgesparse.decoder.reference import logits
from edgesparse.decoder.store import Form, describe_rules, form_of
from edgesparse.errors import InputError
from edgesparse.manifest_decoder import ALL_INPUTS, HEADER, WANTED
from edgesparse.runtimes.session import Session
from edgesparse.types import Array
from tests.decoder.made import decoder, tokens, with_rules


def step(session: Session, position: int, chosen: Sequence[int], flags: int = WANTED) -> dict[str, Array]:
    """Outputs after these tokens."""
    facts = session.manifest.decoder
    assert facts is not None
    header = np.zeros(HEADER + facts.chunk, np.int32)
    header[:HEADER] = position, len(chosen), flags, -1, 0
    header[HEADER : HEADER + len(chosen)] = chosen
    return session.run({"tokens": header, "sampling": np.array([0, 1], np.float32)})


def one_by_one(model: Decoder, bundle: Path, count: int, runtime: str = "local") -> tuple[Array, Array]:
    """(logits of every position, those of the reference)."""
    chosen = tokens(model, count)
    with runtimes.open(bundle, runtime) as session:
        found = np.stack([step(session, i, [int(t)])["logits"] for i, t in enumerate(chosen)])
    return found, logits(model, chosen[None])[0]


KINDS = {
    "llama": decoder(),
    "wide heads": decoder(heads=3, kv_heads=3, head_dim=32, rotary=32),
    "interleaved": decoder(interleaved=True),
    "part of a head": decoder(rotary=8),
    "one head of keys": decoder(kv_heads=1),
    "untied": decoder(tied=False, embedding_scale=1.5),
    "biases": decoder(bias=True),
    "norms of heads": decoder(qk_norm=True),
    "gemma": decoder(
        post_norm=True, activation="gelu_tanh", attention_cap=5.0, logit_cap=3.0, embedding_scale=48**0.5,
        windows=(4, 0),
    ),
    "no gate": decoder(gate=False, activation="relu"),
    "gelu": decoder(gate=False, activation="gelu", bias=True),
    "odd sizes": decoder(dim=37, hidden=53, vocabulary=31, heads=5, kv_heads=1, head_dim=6, rotary=6),
    "predictor": decoder(predictor=16),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_block(kind: str, tmp_path: Path) -> None:
    bundle = compile_decoder(KINDS[kind], "host", tmp_path / "lm.edge", weights="f32")
    found, expected = one_by_one(KINDS[kind], bundle, 12)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("kind", ["llama", "gemma", "predictor", "odd sizes"])
def test_a_prompt_at_once_is_the_same_as_token_by_token(kind: str, tmp_path: Path) -> None:
    model = with_rules(KINDS[kind], lambda site, inputs: InputRule("teal", 0.5, np.array([0.5], np.float32)))
    bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights="f32")
    chosen = tokens(model, 13)
    expected = logits(KINDS[kind], chosen[None])[0]  # prompts are dense
    with runtimes.open(bundle, "local") as session:
        step(session, 0, chosen[:6].tolist(), ALL_INPUTS)
        found = step(session, 6, chosen[6:].tolist(), ALL_INPUTS | WANTED)
    np.testing.assert_allclose(found["logits"], expected[-1], rtol=1e-4, atol=2e-5)


def _scalar(site: str, inputs: int) -> InputRule:
    return InputRule("teal", 0.5, np.array([0.6], np.float32))


def _each(site: str, inputs: int) -> InputRule:
    rng = np.random.default_rng(inputs)
    return InputRule("wina", 0.5, rng.uniform(0.2, 1, inputs).astype(np.float32))


def _spread(site: str, inputs: int) -> InputRule | None:
    return InputRule("topk", 0.5, np.zeros(1, np.float32), spread=0.2) if site in ("gate", "o", "down") else None


def _low_rank(site: str, inputs: int) -> InputRule:
    return InputRule("rsparse", 0.5, np.array([0.7], np.float32), rank=5)


RULES: dict[str, Callable[[str, int], InputRule | None]] = {
    "one threshold": _scalar, "one for each input": _each, "by spread": _spread, "low rank": _low_rank,
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_inputs_that_do_not_count_are_left_out(rule: str, tmp_path: Path) -> None:
    model = with_rules(decoder(bias=rule == "low rank"), RULES[rule])
    bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights="f32", break_even=1)
    found, expected = one_by_one(model, bundle, 10)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


NEURONS = {
    "one threshold": NeuronRule("cats", 0.5, np.array([0.15], np.float32)),
    "one for each neuron": NeuronRule("chess", 0.5, np.linspace(0, 0.3, 80, dtype=np.float32)),
    "by spread": NeuronRule("topk", 0.5, np.zeros(1, np.float32), spread=0.3),
}


@pytest.mark.parametrize("rule", NEURONS)
@pytest.mark.parametrize("predictor", [0, 16])
def test_neurons_that_do_not_count_are_left_out(rule: str, predictor: int, tmp_path: Path) -> None:
    model = with_rules(decoder(predictor=predictor, bias=True), lambda site, inputs: None, NEURONS[rule])
    bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights="f32", break_even=1)
    found, expected = one_by_one(model, bundle, 10)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def test_relu_is_exact(tmp_path: Path) -> None:
    plain = decoder(activation="relu")
    model = with_rules(plain, lambda site, inputs: None, NeuronRule("relu", 0.5, np.zeros(1, np.float32)))
    bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights="f32")
    found, _ = one_by_one(model, bundle, 10)
    np.testing.assert_allclose(found, logits(plain, tokens(plain, 10)[None])[0], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("neurons", [False, True])
def test_where_too_many_inputs_count_all_do(neurons: bool, tmp_path: Path) -> None:
    plain = decoder()
    rule = NeuronRule("cats", 0.5, np.array([0.01], np.float32)) if neurons else None
    model = with_rules(plain, lambda site, inputs: None if neurons else _scalar(site, inputs), rule)
    bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights="f32", break_even=0)
    found, _ = one_by_one(model, bundle, 6)
    np.testing.assert_allclose(found, logits(plain, tokens(plain, 6)[None])[0], rtol=1e-4, atol=2e-5)


def _watched(model: Decoder, chosen: Array) -> dict[str, Array]:
    """What each layer of the last block read after the last token."""
    seen: dict[str, Array] = {}
    logits(model, chosen[None], lambda block, site, x: seen.update({site: x[0, -1]}))
    return seen


@pytest.mark.parametrize("weights", ["f16", "int8", "int4"])
def test_active_entries_are_counted_in_every_form(weights: Form, tmp_path: Path) -> None:
    plain = decoder(dim=128, hidden=256, head_dim=32, heads=4, blocks=1, vocabulary=64, rotary=32)
    inputs = with_rules(plain, _scalar)
    skipped = with_rules(plain, lambda site, inputs: None, NEURONS["one threshold"])
    for model in (inputs, skipped):
        bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights=weights, break_even=1, force=True)
        chosen = tokens(model, 6)
        seen = _watched(model, chosen)
        with runtimes.open(bundle, "local") as session:
            for i, token in enumerate(chosen):
                out = step(session, i, [int(token)])
        active = dict(zip(("q", "k", "v", "o", "gate", "up", "down"), out["active"][0].tolist(), strict=True))
        if model is inputs:
            kept = {site: int((np.abs(x) > 0.6).sum()) for site, x in seen.items() if site in active}
        else:
            count = int((np.abs(seen["act"]) > 0.15).sum())
            kept = {"q": 128, "k": 128, "v": 128, "o": 128, "gate": 128, "up": count, "down": count}
        assert {site: abs(active[site] - kept[site]) <= 4 for site in kept} == dict.fromkeys(kept, True)


def test_blocks_that_are_left_out(tmp_path: Path) -> None:
    """Against the reference with the weights that are left, rounded as they are stored."""
    model = decoder(dim=128, hidden=192, heads=4, head_dim=32, rotary=32, bias=True)

    def left(layer: Linear) -> Linear:
        return replace(layer, weight=gqsa(layer.weight, None, 0.5).dense())

    def left_of(block: Block) -> Block:
        layers: dict[str, Any] = {site: left(layer) for site, layer in block.linears()}
        return replace(block, **layers)

    bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights="int4", block_sparsity=0.5)
    chosen = tokens(model, 9)
    expected = logits(replace(model, blocks=tuple(map(left_of, model.blocks))), chosen[None])[0]
    with runtimes.open(bundle) as session:
        step(session, 0, chosen[:5].tolist(), ALL_INPUTS)
        for i in range(5, 9):
            found = step(session, i, [int(chosen[i])])["logits"]
    assert np.abs(found - expected[-1]).max() < 0.08 * np.abs(expected).max()  # the head has 4 bits, too
    whole = logits(model, chosen[None])[0, -1]
    assert np.abs(found - expected[-1]).max() < 0.3 * np.abs(found - whole).max()


def test_blocks_are_left_out_of_four_bits_only(tmp_path: Path) -> None:
    ruled = with_rules(decoder(), _scalar)
    for model, weights, sparsity, said in (
        (decoder(), "int8", 0.5, "for weights of 4 bits"), (decoder(), "int4", 1.0, r"not in \[0, 1\)"),
        (ruled, "int4", 0.5, "has rules"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            compile_decoder(model, "host", tmp_path / "a.edge", weights=form_of(weights), block_sparsity=sparsity)


@pytest.mark.cpus(2)
@pytest.mark.parametrize("weights", ["f32", "int8", "int4"])
def test_two_threads_compute_the_same(weights: Form, tmp_path: Path) -> None:
    model = with_rules(decoder(dim=128, hidden=384, vocabulary=200), _scalar, NEURONS["one threshold"])
    bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights=weights)
    chosen = [tokens(model, 3).tolist(), *([int(t)] for t in tokens(model, 6, 2))]
    found = []
    for threads in (1, 2):
        position = 0
        with runtimes.open(bundle, "local", threads=threads) as session:
            for part in chosen:
                out = step(session, position, part)
                position += len(part)
            found.append(out["logits"])
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.cpus(2)
@pytest.mark.parametrize("weights", ["f32", "int8", "int4"])
def test_two_threads_count_the_same_where_one_computes_nothing(weights: Form, tmp_path: Path) -> None:
    """q, k and v are one tile of outputs: the first of two threads has none of them."""
    size: dict[str, Any] = {"dim": 32, "head_dim": 8, "rotary": 8} if weights == "f32" else {}
    model = with_rules(decoder(**size), _scalar)
    bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights=weights, break_even=1)
    chosen = tokens(model, 30)
    found = []
    for threads in (1, 2):
        with runtimes.open(bundle, "local", threads=threads) as session:
            found.append([step(session, i, [int(token)])["active"] for i, token in enumerate(chosen)])
    np.testing.assert_array_equal(found[1], found[0])


def test_a_full_context_forgets_the_oldest(tmp_path: Path) -> None:
    """One block, so that what is seen is what is in the window: as a model with a window of the size of the context."""
    model = decoder(blocks=1, context=8)
    bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights="f32")
    windowed = decoder(blocks=1, context=32, windows=(8,))
    found, _ = one_by_one(model, bundle, 20)
    np.testing.assert_allclose(found, logits(windowed, tokens(model, 20)[None])[0], rtol=1e-4, atol=2e-5)


def test_tokens_that_there_are_not_are_refused_by_the_code_itself(tmp_path: Path) -> None:
    bundle = compile_decoder(decoder(blocks=1), "host", tmp_path / "lm.edge", weights="f32")
    with runtimes.open(bundle, "local") as session:
        for position, chosen in ((0, [70]), (0, [-1]), (-1, [3]), (0, [])):
            with pytest.raises(Exception, match="model_run returned -7"):
                step(session, position, chosen)


def test_what_rules_leave_out_is_told_in_weights() -> None:
    """Not the mean of what each of them says: a wide layer counts for more."""
    q, down = 64 * 48, 48 * 80
    layers = 2 * q + 2 * 32 * 48 + 3 * down

    def rule(site: str, inputs: int) -> InputRule | None:
        share = {"q": 0.25, "down": 0.75}.get(site)
        return InputRule("teal", share, np.ones(1, np.float32)) if share else None

    found = describe_rules(with_rules(decoder(), rule))
    assert found == {"method": "teal", "sparsity": pytest.approx((0.25 * q + 0.75 * down) / layers, abs=1e-6)}

    cats = tuple(replace(b, neurons=NeuronRule("cats", 0.5, np.ones(1, np.float32))) for b in decoder().blocks)
    found = describe_rules(replace(decoder(), blocks=cats))
    assert found == {"method": "cats", "sparsity": pytest.approx(0.5 * 2 * down / layers, abs=1e-6)}

    found = describe_rules(with_rules(decoder(), lambda site, inputs: InputRule("rsparse", 0.5, np.ones(1), rank=5)))
    low = 5 * (2 * (48 + 64) + 2 * (48 + 32) + 3 * (48 + 80))
    assert found["sparsity"] == pytest.approx(0.5 - low / layers, abs=1e-6)
    assert describe_rules(decoder()) == {}


def test_what_cannot_be_compiled(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights 'int2'"):
        compile_decoder(decoder(), "host", tmp_path / "a.edge", weights="int2")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a context of 0"):
        compile_decoder(decoder(), "host", tmp_path / "a.edge", context=0)
    with pytest.raises(InputError, match=r"room for 4\.3"):
        compile_decoder(decoder(blocks=12), "browser", tmp_path / "a.edge", context=1 << 22)
    assert not (tmp_path / "a.edge").exists()
