"""FuseResidual: additions join the convolution or product before them; what must stay, stays with a reason."""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.passes.fuse_residual import FuseResidual
from edgesparse.types import Array
from tests.passes.unfuse import check_same, ops, parse

RNG = np.random.default_rng(8)


def weights(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def model_of(body: str, outputs: str = "float[1,3,5,4] y", **extra: Array) -> ir.Model:
    given = {"w": weights(3, 3, 1, 1), "b": weights(3), "c": weights(3, 1, 1), "d": weights(3, 1, 3, 3)}
    used = {k: v for k, v in given.items() if f", {k})" in body or f", {k}," in body}
    return parse(f"(float[1,3,5,4] x) => ({outputs}) {{ {body} }}", 17, **used, **extra)


FUSED = {
    "residual": ("h = Conv(x, w, b) y = Add(h, x)", ["Conv"]),
    "residual from the left": ("h = Conv(x, w, b) y = Add(x, h)", ["Conv"]),
    "residual made later": ("h = Conv(x, w, b) r = Neg(x) y = Add(h, r)", ["Neg", "Conv"]),
    "two convolutions": ("h = Conv(x, w, b) g = Conv(x, w) y = Add(h, g)", ["Conv", "Conv"]),
    "bias": ("h = Conv(x, w) y = Add(h, c)", ["Conv"]),
    "bias and residual": ("h = Conv(x, w) g = Add(h, c) y = Add(g, x)", ["Conv"]),
}


@pytest.mark.parametrize("name", FUSED)
def test_fuses(name: str) -> None:
    body, expected = FUSED[name]
    model = model_of(body)
    before = model.clone()
    assert FuseResidual()(model).modified
    assert ops(model) == expected
    check_same(before, model)
    assert not FuseResidual()(model).modified


def test_bias_of_a_product() -> None:
    text = "(float[2,3] x) => (float[2,4] y) { h = MatMul(x, w) y = Add(h, b) }"
    model = parse(text, 17, w=weights(3, 4), b=weights(4))
    before = model.clone()
    assert FuseResidual()(model).modified
    assert ops(model) == ["MatMul"]
    check_same(before, model)


REFUSED = {
    "depthwise": ("h = Conv<group = 3, pads = [1, 1, 1, 1]>(x, d) y = Add(h, x)", "float[1,3,5,4] y", "depthwise"),
    "another reader": ("h = Conv(x, w) z = Neg(h) y = Add(h, x)", "float[1,3,5,4] y, float[1,3,5,4] z", "elsewhere"),
    "an output": ("h = Conv(x, w) y = Add(h, x)", "float[1,3,5,4] y, float[1,3,5,4] h", "elsewhere"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_its_reason(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "edgesparse")
    body, outputs, reason = REFUSED[name]
    model = model_of(body, outputs)
    before = ops(model)
    assert not FuseResidual()(model).modified
    assert ops(model) == before
    assert any(reason in message for message in caplog.messages), caplog.messages
