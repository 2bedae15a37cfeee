"""FoldAffine: arithmetic per channel joins the convolution, everything else stays."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.passes.fold_affine import FoldAffine
from edgesparse.types import Array
from tests.passes.unfuse import check_same, ops, parse

RNG = np.random.default_rng(11)


def weights(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def model_of(body: str, conv: str = "h = Conv(x, w, b)", *, w: Array | None = None, **extra: Array) -> ir.Model:
    text = f"(float[1,3,6,5] x) => (float[1,4,6,5] y) {{ {conv} {body} }}"
    given = {"w": weights(4, 3, 1, 1) if w is None else w, **extra}
    if ", b)" in conv:
        given["b"] = weights(4)
    return parse(text, 17, **given)


CHANNELS = weights(4, 1, 1)
FOLDED = {
    "mul": ("y = Mul(h, c)", "h = Conv(x, w, b)", None),
    "mul from the left": ("y = Mul(c, h)", "h = Conv(x, w, b)", None),
    "div": ("y = Div(h, c)", "h = Conv(x, w, b)", None),
    "add": ("y = Add(h, c)", "h = Conv(x, w, b)", None),
    "sub": ("y = Sub(h, c)", "h = Conv(x, w, b)", None),
    "sub from the left": ("y = Sub(c, h)", "h = Conv(x, w, b)", None),
    "without bias": ("y = Mul(h, c)", "h = Conv(x, w)", None),
    "a chain": ("s = Mul(h, c) y = Add(s, c)", "h = Conv(x, w)", None),
    "transposed": ("y = Mul(h, c)", "h = ConvTranspose(x, w, b)", weights(3, 4, 1, 1)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folds(name: str) -> None:
    body, conv, w = FOLDED[name]
    model = model_of(body, conv, w=w, c=CHANNELS)
    before = model.clone()
    assert FoldAffine()(model).modified
    assert ops(model) == [conv.split("= ")[1].split("(")[0]]
    check_same(before, model)
    assert not FoldAffine()(model).modified


def test_grouped_transposed_convolution() -> None:
    text = "(float[1,4,5,5] x) => (float[1,6,5,5] y) { h = ConvTranspose<group = 2>(x, w) y = Mul(h, c) }"
    model = parse(text, 17, w=weights(4, 3, 1, 1), c=weights(6, 1, 1))
    before = model.clone()
    assert FoldAffine()(model).modified
    check_same(before, model)


REFUSED = {
    "a constant per column": ("y = Mul(h, c)", {"c": weights(5)}),
    "a number divided by the convolution": ("y = Div(c, h)", {"c": CHANNELS}),
    "another reader": ("z = Mul(h, c) y = Add(z, h)", {"c": CHANNELS}),
    "division by zero": ("y = Div(h, c)", {"c": np.zeros((4, 1, 1), np.float32)}),
    "an activation between": ("r = Relu(h) y = Mul(r, c)", {"c": CHANNELS}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    body, extra = REFUSED[name]
    model = model_of(body, c=extra["c"])
    before = ops(model)
    assert not FoldAffine()(model).modified
    assert ops(model) == before
