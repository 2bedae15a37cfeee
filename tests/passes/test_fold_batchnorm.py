"""FoldBatchnorm: into Conv, ConvTranspose and Gemm before it; a shared or missing one stays."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.passes.fold_batchnorm import FoldBatchnorm
from edgesparse.types import Array
from tests.passes.unfuse import check_same, ops, parse

RNG = np.random.default_rng(6)


def weights(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def parameters(channels: int) -> dict[str, Array]:
    return {"s": weights(channels), "o": weights(channels), "m": weights(channels), "v": weights(channels) ** 2 + 0.1}


NORM = "BatchNormalization<epsilon = 0.001>(h, s, o, m, v)"
FORMS = {
    "conv": ("float[1,3,5,4] x", "float[1,4,5,4] y", "Conv(x, w, b)", weights(4, 3, 1, 1)),
    "conv without bias": ("float[1,3,5,4] x", "float[1,4,5,4] y", "Conv(x, w)", weights(4, 3, 1, 1)),
    "depthwise": ("float[1,4,5,4] x", "float[1,4,3,2] y", "Conv<group = 4>(x, w)", weights(4, 1, 3, 3)),
    "transposed": ("float[1,3,5,4] x", "float[1,4,5,4] y", "ConvTranspose(x, w)", weights(3, 4, 1, 1)),
    "gemm": ("float[2,3] x", "float[2,4] y", "Gemm(x, w, b)", weights(3, 4)),
}


@pytest.mark.parametrize("name", FORMS)
def test_folds(name: str) -> None:
    x, y, node, w = FORMS[name]
    extra = {"b": weights(4)} if ", b)" in node else {}
    model = parse(f"({x}) => ({y}) {{ h = {node} y = {NORM} }}", 17, w=w, **extra, **parameters(4))
    before = model.clone()
    assert FoldBatchnorm()(model).modified
    assert ops(model) == [node.split("(")[0].split("<")[0]]
    check_same(before, model, tolerance=1e-5)
    assert not FoldBatchnorm()(model).modified


REFUSED = {
    "a reader": "(float[1,3,5,4] x) => (float[1,4,5,4] y, float[1,4,5,4] z) { h = Conv(x, w) z = Neg(h) y = NORM }",
    "no layer before it": "(float[1,4,5,4] x) => (float[1,4,5,4] y) { h = Neg(x) y = NORM }",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    extra = {"w": weights(4, 3, 1, 1)} if "Conv" in REFUSED[name] else {}
    model = parse(REFUSED[name].replace("NORM", NORM), 17, **extra, **parameters(4))
    assert not FoldBatchnorm()(model).modified
    assert "BatchNormalization" in ops(model)
