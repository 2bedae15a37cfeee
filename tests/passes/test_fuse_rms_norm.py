"""FuseRmsNorm: every way to write it becomes one operator, what is no RMSNorm stays."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest

from edgesparse.passes.fuse_rms_norm import FuseRmsNorm
from edgesparse.passes.match import refusal
from edgesparse.types import Array
from tests.passes.unfuse import check_same, ops, parse

RNG = np.random.default_rng(21)
F = np.float32
NUMBERS: dict[str, Array] = {
    "two": np.array(2, F), "half": np.array(0.5, F), "minus_half": np.array(-0.5, F), "one": np.array(1, F),
    "eps": np.array(1e-5, F), "last": np.array([-1]), "third": np.array([2]), "second": np.array([1]),
    "g": RNG.standard_normal(8).astype(F), "two_rows": RNG.standard_normal((5, 8)).astype(F),
}  # fmt: skip
MEAN = "s = Mul(x, x) m = ReduceMean(s, last) e = Add(m, eps)"


def model_of(body: str, inputs: str = "float[1,5,8] x", output: str = "float[1,5,8] y") -> ir.Model:
    used = {name: array for name, array in NUMBERS.items() if f"{name})" in body or f"{name}," in body}
    return parse(f"({inputs}) => ({output}) {{ {body} }}", 18, **used)


FUSED = {
    "reciprocal of the root": f"{MEAN} q = Sqrt(e) r = Reciprocal(q) n = Mul(x, r) y = Mul(g, n)",
    "one by the root": f"{MEAN} q = Sqrt(e) r = Div(one, q) n = Mul(r, x) y = Mul(n, g)",
    "divided by the root": f"{MEAN} q = Sqrt(e) n = Div(x, q) y = Mul(n, g)",
    "power of a half": f"{MEAN} q = Pow(e, half) n = Div(x, q) y = Mul(n, g)",
    "power of minus a half": f"{MEAN} r = Pow(e, minus_half) n = Mul(x, r) y = Mul(n, g)",
    "square as a power": "s = Pow(x, two) m = ReduceMean(s, third) e = Add(eps, m) q = Sqrt(e) "
    "n = Div(x, q) y = Mul(g, n)",
}  # fmt: skip


@pytest.mark.parametrize("name", FUSED)
def test_fuses(name: str) -> None:
    model = model_of(FUSED[name])
    before = model.clone()
    assert FuseRmsNorm()(model).modified
    common.RemoveUnusedNodesPass()(model)
    assert ops(model) == ["RMSNormalization"]
    assert model.opset_imports[""] == 23
    check_same(before, model)
    assert not FuseRmsNorm()(model).modified


REFUSED = {
    "the mean of another axis": (
        "s = Mul(x, x) m = ReduceMean(s, second) e = Add(m, eps) q = Sqrt(e) n = Div(x, q) y = Mul(n, g)", None),
    "the mean of something else": (
        "k = Abs(x) s = Mul(k, k) m = ReduceMean(s, last) e = Add(m, eps) q = Sqrt(e) n = Div(x, q) "
        "y = Mul(n, g)", None),
    "no square": ("m = ReduceMean(x, last) e = Add(m, eps) q = Sqrt(e) n = Div(x, q) y = Mul(n, g)", None),
    "no epsilon": ("s = Mul(x, x) m = ReduceMean(s, last) q = Sqrt(m) n = Div(x, q) y = Mul(n, g)", None),
    "gains that differ by row": (
        f"{MEAN} q = Sqrt(e) n = Div(x, q) y = Mul(n, two_rows)", "the gains of a norm are not constant, one for each"),
    "gains that are computed": (
        f"{MEAN} q = Sqrt(e) n = Div(x, q) y = Mul(n, z)", "the gains of a norm are not constant, one for each"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    body, reason = REFUSED[name]
    model = model_of(body, "float[1,5,8] x, float[8] z")
    before = ops(model)
    assert not FuseRmsNorm()(model).modified
    assert ops(model) == before
    last = model.graph.outputs[0].producer()
    assert last is not None
    if reason is None:
        assert refusal(last) is None
    else:
        assert reason in str(refusal(last))


def test_refuses_other_types() -> None:
    types = {"g": np.float64, "eps": np.float64}
    text = f"(double[1,5,8] x) => (double[1,5,8] y) {{ {MEAN} q = Sqrt(e) n = Div(x, q) y = Mul(n, g) }}"
    model = parse(text, 18, last=NUMBERS["last"], **{k: NUMBERS[k].astype(t) for k, t in types.items()})
    assert not FuseRmsNorm()(model).modified
    last = model.graph.outputs[0].producer()
    assert last is not None and refusal(last) == "a norm of other values than float32"
