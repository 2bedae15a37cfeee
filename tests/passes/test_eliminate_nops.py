"""EliminateNops: nodes without effect go, those with one stay."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.passes.eliminate_nops import EliminateNops
from tests.passes.unfuse import check_same, ops, parse

NUMBERS = {"zero": np.array(0, np.float32), "one": np.array(1, np.float32), "six": np.array(6, np.float32)}
GONE = {
    "add": ("a = Add(h, zero)", {"zero"}),
    "sub": ("a = Sub(h, zero)", {"zero"}),
    "mul": ("a = Mul(h, one)", {"one"}),
    "div": ("a = Div(h, one)", {"one"}),
    "cast": ("a = Cast<to = 1>(h)", set()),
    "dropout": ("a = Dropout(h)", set()),
    "relu twice": ("a = Relu(h)", set()),
}


@pytest.mark.parametrize("name", GONE)
def test_gone(name: str) -> None:
    body, used = GONE[name]
    first = "Relu" if name == "relu twice" else "Neg"
    text = f"(float[2,3] x) => (float[2,3] y) {{ h = {first}(x) {body} y = Exp(a) }}"
    model = parse(text, 17, **{k: NUMBERS[k] for k in used})
    before = model.clone()
    assert EliminateNops()(model).modified
    assert ops(model) == [first, "Exp"]
    check_same(before, model)
    assert not EliminateNops()(model).modified


STAYS = {"add": "a = Add(h, one)", "mul": "a = Mul(h, six)", "relu": "a = Relu(h)"}


@pytest.mark.parametrize("name", STAYS)
def test_stays(name: str) -> None:
    text = f"(float[2,3] x) => (float[2,3] y) {{ h = Neg(x) {STAYS[name]} y = Exp(a) }}"
    model = parse(text, 17, **{k: v for k, v in NUMBERS.items() if f", {k})" in STAYS[name]})
    assert not EliminateNops()(model).modified
