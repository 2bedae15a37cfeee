"""Rules on weights of 16, 8 and 4 bits, against the reference in NumPy with the weights that are stored.

Against weights that are not rounded a right answer of 4 bits is as far off as one under no rule at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesparse import runtimes
from edgesparse.decoder import reference
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.model import Block, Decoder, InputRule, NeuronRule
from edgesparse.decoder.pack_qb4 import quantise_qb4
from edgesparse.decoder.store import Form
from edgesparse.types import Array
from tests.decoder.made import decoder, tokens, with_rules
from tests.decoder.test_compile import step


def _bytes(weight: Array) -> Array:
    """The nearest of -127..127 times the scale of its row."""
    scale = np.abs(weight).max(axis=1, keepdims=True) / np.float32(127)
    found: Array = (np.rint(weight / scale) * scale).astype(np.float32)
    return found


ROUNDED: Mapping[Form, Callable[[Array], Array]] = {
    "f16": lambda weight: weight.astype(np.float16).astype(np.float32),
    "int8": _bytes,
    "int4": lambda weight: quantise_qb4(weight, 32).dense(),
}
FAR = {"f16": 1e-4, "int8": 0.02, "int4": 0.02}
"""Of the logits, the median of all positions: activations have 8 bits beside weights of 8 and 4, which is 0.01. Not the
largest, since a value near its threshold may fall on either side."""
NO_RULE = 0.1
"""Farther off than that is what no rule changes."""

# Sizes that no kernel's blocks divide; what layers add is most of what the head reads.
PLAIN = decoder(dim=72, hidden=104, heads=5, kv_heads=1, blocks=1, bias=True, embedding_scale=0.25)


def _one(threshold: float) -> Array:
    return np.array([threshold], np.float32)


def _scalar(site: str, inputs: int) -> InputRule:
    return InputRule("teal", 0.5, _one(0.6))


def _each(site: str, inputs: int) -> InputRule:
    return InputRule("wina", 0.5, np.random.default_rng(inputs).uniform(0.2, 1, inputs).astype(np.float32))


def _spread(site: str, inputs: int) -> InputRule:
    return InputRule("topk", 0.5, np.zeros(1, np.float32), spread=0.3)


def _low_rank(site: str, inputs: int) -> InputRule:
    return InputRule("rsparse", 0.5, _one(0.6), rank=5)


def _none(site: str, inputs: int) -> None:
    return None


ONE = NeuronRule("cats", 0.5, _one(0.5))
EACH = NeuronRule("chess", 0.5, np.linspace(0, 1, PLAIN.hidden, dtype=np.float32))
SPREAD = NeuronRule("topk", 0.5, np.zeros(1, np.float32), spread=0.5)
RULED: Mapping[str, Decoder] = {
    "inputs": with_rules(PLAIN, _scalar),
    "inputs, each its own": with_rules(PLAIN, _each),
    "inputs by spread": with_rules(PLAIN, _spread),
    "inputs and a low rank": with_rules(PLAIN, _low_rank),
    "neurons": with_rules(PLAIN, _none, ONE),
    "neurons, each its own": with_rules(PLAIN, _none, EACH),
    "neurons by spread": with_rules(PLAIN, _none, SPREAD),
    "neurons and inputs": with_rules(PLAIN, _scalar, ONE),
    "neurons and a low rank": with_rules(PLAIN, _low_rank, EACH),
}


def _stored(model: Decoder, weights: Form) -> Decoder:
    """With the weights that the form makes of them."""
    rounded = ROUNDED[weights]

    def of(block: Block) -> Block:
        layers: dict[str, Any] = {s: replace(x, weight=rounded(x.weight)) for s, x in block.linears()}
        return replace(block, **layers)

    return replace(model, embedding=rounded(model.embedding), blocks=tuple(map(of, model.blocks)))


def _expected(model: Decoder, weights: Form, chosen: Array, patch: pytest.MonkeyPatch) -> Array:
    """Logits of the reference, (positions, vocabulary). Low ranks are those of the weights before these are rounded."""
    stored, low = _stored(model, weights), {}
    for block, new in zip(model.blocks, stored.blocks, strict=True):
        for (_, layer), (_, rounded) in zip(block.linears(), new.linears(), strict=True):
            if layer.rule is not None and layer.rule.rank:
                u, v = reference.low_rank(layer.weight, layer.rule.rank)
                low[id(rounded.weight)] = ROUNDED[weights](u), ROUNDED[weights](v)
    with patch.context() as here:
        here.setattr(reference, "low_rank", lambda weight, rank: low[id(weight)])
        found: Array = reference.logits(stored, chosen[None])[0]
    return found


def _off(found: Array, expected: Array) -> float:
    """The median of all positions where rules hold, over the length of what is expected."""
    error = np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    return float(np.median(error[PLAIN.dense_positions :]))


@pytest.mark.parametrize("rule", RULED)
@pytest.mark.parametrize("weights", ROUNDED)
def test_rules_hold_for_weights_that_are_rounded(
    weights: Form, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, chosen = RULED[rule], tokens(PLAIN, 24)
    bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights=weights, break_even=1)
    with runtimes.open(bundle, "local") as session:
        found = np.stack([step(session, i, [int(token)])["logits"] for i, token in enumerate(chosen)])
    expected = _expected(model, weights, chosen, monkeypatch)
    assert _off(_expected(PLAIN, weights, chosen, monkeypatch), expected) > NO_RULE
    assert _off(found, expected) < FAR[weights]


@pytest.mark.cpus(2)
@pytest.mark.parametrize("neurons", [None, ONE], ids=["inputs", "neurons"])
def test_threads_that_share_a_layer_by_inputs(
    neurons: NeuronRule | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers of a million weights: each of two threads has a half of the inputs that count, and all outputs. Of a
    thousand inputs some always lie so near the threshold that they fall on the other side of it."""
    size: dict[str, Any] = {"dim": 1040, "hidden": 1060, "heads": 20, "kv_heads": 20, "head_dim": 52}
    plain = decoder(**size, blocks=1, bias=True, embedding_scale=0.25)
    model, chosen, found = with_rules(plain, _scalar, neurons), tokens(plain, 10), []
    bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights="int8", break_even=1)
    for threads in (1, 2):
        with runtimes.open(bundle, "local", threads=threads) as session:
            found.append([step(session, i, [int(token)]) for i, token in enumerate(chosen)])
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(two["logits"], one["logits"])
        np.testing.assert_array_equal(two["active"], one["active"])
    expected = _expected(model, "int8", chosen, monkeypatch)
    assert _off(_expected(plain, "int8", chosen, monkeypatch), expected) > 2 * NO_RULE
    assert _off(np.stack([one["logits"] for one in found[0]]), expected) < NO_RULE / 2
