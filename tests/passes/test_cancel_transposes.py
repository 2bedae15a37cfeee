"""CancelTransposes: NHWC wrappers vanish, numbers stay, and what cannot move is left alone."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.passes.cancel_transposes import CancelTransposes
from edgesparse.types import Array
from tests.passes.unfuse import check_same, ops, parse

RNG = np.random.default_rng(5)
IN = "h = Transpose<perm = [0, 3, 1, 2]>(x)"  # (1,5,6,3) -> (1,3,5,6)
OUT = "y = Transpose<perm = [0, 2, 3, 1]>(g)"


def weights(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def wrapped(body: str, shape: str = "1,5,6,3", opset: int = 17, /, **extra: Array) -> ir.Model:
    return parse(f"(float[1,5,6,3] x) => (float[{shape}] y) {{ {IN} {body} {OUT} }}", opset, **extra)


CANCELLED = {
    "abs": ("g = Abs(h)", ["Abs"]),
    "relu": ("g = Relu(h)", ["Relu"]),
    "chain": ("a = Relu(h) b = Tanh(a) g = Neg(b)", ["Relu", "Tanh", "Neg"]),
    "channel bias": ("g = Add(h, c)", ["Add"]),
    "full constant": ("g = Mul(f, h)", ["Mul"]),
    "number": ("g = Max(h, n)", ["Max"]),
    "slope": ("g = PRelu(h, c)", ["PRelu"]),
    "softmax": ("g = Softmax<axis = 1>(h)", ["Softmax"]),
    "clip": ("g = Clip(h, n)", ["Clip"]),
}


@pytest.mark.parametrize("name", CANCELLED)
def test_wrappers_vanish(name: str) -> None:
    body, expected = CANCELLED[name]
    extra = {"c": weights(3, 1, 1), "f": weights(1, 3, 5, 6), "n": np.array(0.25, np.float32)}
    model = wrapped(body, **{k: v for k, v in extra.items() if f"{k})" in body or f"({k}," in body})
    before = model.clone()
    assert CancelTransposes()(model).modified
    assert ops(model) == expected
    check_same(before, model)
    assert not CancelTransposes()(model).modified


SHAPES = {
    "concat": ("r = Relu(h) g = Concat<axis = 1>(h2, r)", "1,5,6,6"),
    "pad": ("r = Relu(h) g = Pad(r, p)", "1,8,7,3"),
    "slice": ("r = Relu(h) g = Slice(r, s, e, a)", "1,5,4,3"),
    "sum": ("r = Relu(h) g = ReduceSum(r, m)", "1,1,1,3"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_axes_are_mapped(name: str) -> None:
    body, shape = SHAPES[name]
    if name == "concat":
        body = f"h2 = Transpose<perm = [0, 3, 1, 2]>(x) {body}"
    extra: dict[str, Array] = {
        "p": np.array([0, 0, 1, 0, 0, 0, 2, 1]), "s": np.array([1]), "e": np.array([5]), "a": np.array([-1]),
        "m": np.array([2, -1]),
    }  # fmt: skip
    model = wrapped(body, shape, **{k: v for k, v in extra.items() if f", {k}" in body})
    before = model.clone()
    assert CancelTransposes()(model).modified
    assert "Transpose" not in ops(model)
    check_same(before, model)


def test_between_convolutions_nothing_is_left() -> None:
    body = (
        "c1 = Conv(h, w, b) t = Transpose<perm = [0, 2, 3, 1]>(c1) s = Add(t, k) r = Relu(s) "
        "u = Transpose<perm = [0, 3, 1, 2]>(r) g = Conv(u, w, b)"
    )
    model = wrapped(body, w=weights(3, 3, 1, 1), b=weights(3), k=weights(3))
    before = model.clone()
    CancelTransposes()(model)
    assert ops(model) == ["Transpose", "Conv", "Add", "Relu", "Conv", "Transpose"]
    check_same(before, model)


def test_two_become_one() -> None:
    body = "a = Transpose<perm = [1, 0, 2]>(x) y = Transpose<perm = [2, 1, 0]>(a)"
    model = parse(f"(float[2,3,4] x) => (float[4,2,3] y) {{ {body} }}", 17)
    before = model.clone()
    CancelTransposes()(model)
    assert ops(model) == ["Transpose"]
    check_same(before, model)


REFUSED = {
    "another reader": f"(float[1,5,6,3] x) => (float[1,3,5,6] y, float[1,3,5,6] z) {{ {IN} y = Relu(h) z = Neg(h) }}",
    "an untransposed operand": f"(float[1,5,6,3] x, float[1,3,5,6] v) => (float[1,3,5,6] y) {{ {IN} y = Add(h, v) }}",
    "an output": f"(float[1,5,6,3] x) => (float[1,3,5,6] h, float[1,3,5,6] y) {{ {IN} y = Relu(h) }}",
    "lost dimensions": f"(float[1,5,6,3] x) => (float[1,3,5] y) {{ {IN} y = ReduceMax<axes = [3], keepdims = 0>(h) }}",
    "a reshape": f"(float[1,5,6,3] x) => (float[1,90] y) {{ {IN} y = Flatten(h) }}",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    model = parse(REFUSED[name], 17)
    before = ops(model)
    assert not CancelTransposes()(model).modified
    assert ops(model) == before


def test_softmax_of_old_opsets_stays() -> None:
    model = wrapped("g = Softmax<axis = 1>(h)", "1,5,6,3", 11)
    assert not CancelTransposes()(model).modified
