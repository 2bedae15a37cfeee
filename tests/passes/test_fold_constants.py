"""FoldConstants: what is known at compile time is computed; what depends on the input stays."""

from __future__ import annotations

import numpy as np

from edgesparse.passes.fold_constants import FoldConstants
from tests.passes.unfuse import check_same, ops, parse


def test_shape_chain() -> None:
    body = """
        s = Shape(x) d = Gather(s, i) u = Unsqueeze(d, a) c = Concat<axis = 0>(u, m) y = Reshape(x, c)
    """
    extra = {"i": np.array(0), "a": np.array([0]), "m": np.array([-1])}
    model = parse(f"(float[2,3,4] x) => (float[2,12] y) {{ {body} }}", 17, **extra)
    before = model.clone()
    assert FoldConstants()(model).modified
    assert ops(model) == ["Reshape"]
    check_same(before, model)
    assert not FoldConstants()(model).modified


def test_arithmetic_on_weights() -> None:
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((3, 4)).astype(np.float32), "k": rng.standard_normal(4).astype(np.float32)}
    text = "(float[2,3] x) => (float[2,4] y) { a = Mul(w, k) t = Transpose(a) u = Transpose(t) y = MatMul(x, u) }"
    model = parse(text, 17, **weights)
    before = model.clone()
    assert FoldConstants()(model).modified
    assert ops(model) == ["MatMul"]
    check_same(before, model)


def test_what_depends_on_the_input_stays() -> None:
    model = parse("(float[2,3] x) => (float[2,3] y) { h = Neg(x) y = Exp(h) }", 17)
    assert not FoldConstants()(model).modified
    assert ops(model) == ["Neg", "Exp"]
