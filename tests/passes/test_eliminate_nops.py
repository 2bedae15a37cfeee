"""EliminateNops: nodes without effect go, those with one stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.passes.eliminate_nops import EliminateNops
from edgesparse.passes.fuse_activation import FuseActivation
from edgesparse.types import Array
from tests.passes.unfuse import check_same, ops, parse

CONSTANTS: dict[str, Array] = {
    "zero": np.array(0, np.float32), "one": np.array(1, np.float32), "six": np.array(6, np.float32),
    "zeros": np.zeros((3, 1, 1), np.float32), "wide": np.zeros((1, 1, 1, 1, 1), np.float32),
    "low": np.array(-1, np.float32), "below": np.array(-3, np.float32), "inf": np.array(np.inf, np.float32),
    "minus": np.array(-np.inf, np.float32), "same": np.array([2, 3, 4, 5]), "ones4": np.array([1, 1, 1, 1]),
    "pads": np.zeros(8, np.int64), "shift": np.array([0, 0, 1, 0, 0, 0, -1, 0]), "start": np.array([0]),
    "end": np.array([99]), "axis": np.array([1]), "step": np.array([-1]), "last": np.array([-1]),
    "first": np.array([-99]), "off": np.array(False), "half": np.array(0.5, np.float32), "of_all": np.array([3]),
}  # fmt: skip


def model_of(body: str, first: str = "Neg", shape: str = "2,3,4,5", opset: int = 17) -> ir.Model:
    words = body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    used = {k: v for k, v in CONSTANTS.items() if k in words}
    return parse(f"(float[2,3,4,5] x) => (float[{shape}] y) {{ h = {first}(x) {body} y = Exp(a) }}", opset, **used)


GONE = {
    "add": "a = Add(h, zero)",
    "add from the left": "a = Add(zero, h)",
    "add a tensor": "a = Add(h, zeros)",
    "sub": "a = Sub(h, zero)",
    "mul": "a = Mul(h, one)",
    "div": "a = Div(h, one)",
    "pow": "a = Pow(h, one)",
    "cast": "a = Cast<to = 1>(h)",
    "dropout": "a = Dropout(h)",
    "dropout switched off": "a, m = Dropout(h, half, off)",
    "concat of one": "a = Concat<axis = 1>(h)",
    "sum of one": "a = Sum(h)",
    "max of one": "a = Max(h)",
    "reshape": "a = Reshape(h, same)",
    "expand": "a = Expand(h, ones4)",
    "tile": "a = Tile(h, ones4)",
    "slice": "a = Slice(h, start, end, axis)",
    "split": "a = Split<axis = 1>(h, of_all)",
    "pad": "a = Pad(h, pads)",
    "clip": "a = Clip(h)",
    "clip by infinity": "a = Clip(h, minus, inf)",
    "pool": "a = AveragePool<kernel_shape = [1, 1]>(h)",
    "maximum pool": "a, i = MaxPool<kernel_shape = [1, 1], strides = [1, 1]>(h)",
    "two": "b = Add(h, zero) a = Mul(b, one)",
}


@pytest.mark.parametrize("name", GONE)
def test_gone(name: str) -> None:
    model = model_of(GONE[name])
    before = model.clone()
    assert EliminateNops()(model).modified
    assert ops(model) == ["Neg", "Exp"]
    check_same(before, model)
    assert not EliminateNops()(model).modified


def test_reduction_over_ones() -> None:
    model = parse("(float[2,1,4] x) => (float[2,1,4] y) { h = Neg(x) a = ReduceMean<axes = [1]>(h) y = Exp(a) }")
    assert EliminateNops()(model).modified
    assert ops(model) == ["Neg", "Exp"]


STAYS = {
    "add": ("a = Add(h, one)", "2,3,4,5"),
    "mul": ("a = Mul(h, six)", "2,3,4,5"),
    "reciprocal": ("a = Div(one, h)", "2,3,4,5"),
    "power of one": ("a = Pow(one, h)", "2,3,4,5"),
    "difference from zero": ("a = Sub(zero, h)", "2,3,4,5"),
    "broadcast": ("a = Add(h, wide)", "1,2,3,4,5"),
    "relu": ("a = Relu(h)", "2,3,4,5"),
    "backwards": ("a = Slice(h, last, first, axis, step)", "2,3,4,5"),
    "shift": ("a = Pad(h, shift)", "2,3,4,5"),
    "strided pool": ("a = MaxPool<kernel_shape = [1, 1], strides = [4, 5]>(h)", "2,3,1,1"),
    "reshape": ("a = Flatten(h)", "2,60"),
}


@pytest.mark.parametrize("name", STAYS)
def test_stays(name: str) -> None:
    body, shape = STAYS[name]
    model = model_of(body, shape=shape)
    assert not EliminateNops()(model).modified
    assert len(ops(model)) == 3


JOINED = {
    "relu relu": ("b = Relu(h) a = Relu(b)", ["Relu"]),
    "relu clip": ("b = Relu(h) a = Clip(b, low, one)", ["Clip"]),
    "clip relu": ("b = Clip(h, low, one) a = Relu(b)", ["Clip"]),
    "clip clip": ("b = Clip(h, low, six) a = Clip(b, below, one)", ["Clip"]),
    "no overlap": ("b = Clip(h, below, low) a = Relu(b)", ["Clip"]),
    "above": ("b = Clip(h, zero, one) a = Clip(b, six, inf)", ["Clip"]),
    "no lower bound": ("b = Clip(h, minus, six) a = Clip(b, minus, one)", ["Clip"]),
    "three": ("b = Relu(h) c = Clip(b, zero, six) a = Relu(c)", ["Clip"]),
}


@pytest.mark.parametrize("name", JOINED)
def test_bounds_join(name: str) -> None:
    body, expected = JOINED[name]
    model = model_of(body)
    before = model.clone()
    assert EliminateNops()(model).modified
    assert ops(model) == ["Neg", *expected, "Exp"]
    check_same(before, model)
    assert not EliminateNops()(model).modified


def test_bounds_with_another_reader() -> None:
    body = "a = Clip(x, low, six) z = Neg(a) b = Relu(a) y = Exp(b)"
    text = f"(float[2,3] x) => (float[2,3] y, float[2,3] z) {{ {body} }}"
    model = parse(text, 17, low=CONSTANTS["low"], six=CONSTANTS["six"])
    assert not EliminateNops()(model).modified


def test_outputs_keep_their_names() -> None:
    text = "(float[2,3] x) => (float[2,3] y, float[2,3] z) { y = Cast<to = 1>(x) h = Neg(x) z = Reshape(h, s) }"
    model = parse(text, 17, s=np.array([2, 3]))
    before = model.clone()
    assert EliminateNops()(model).modified
    check_same(before, model)
    assert not EliminateNops()(model).modified


def test_a_mask_that_is_read_keeps_its_dropout() -> None:
    model = parse("(float[2,3] x) => (float[2,3] y, bool[2,3] m) { y, m = Dropout(x) }")
    assert not EliminateNops()(model).modified


def test_symbolic_batch() -> None:
    model = parse("(float[N,3] x) => (float[N,3] y) { a = Add(x, z) y = Exp(a) }", 17, z=np.zeros(3, np.float32))
    assert EliminateNops()(model).modified
    assert ops(model) == ["Exp"]


@pytest.mark.parametrize(
    ("body", "act"),
    [
        ("m = Max(h, z) y = Min(m, s)", "clip"),
        ("m = Min(s, h) y = Max(m, z)", "clip"),
        ("r = Relu(h) y = Min(r, s)", "clip"),
        ("y = Max(z, h)", "relu"),
        ("a = Add(h, t) m = Max(a, z) c = Min(m, s) p = Mul(h, c) y = Div(p, s)", "hard_swish"),
    ],
)
def test_bounds_as_min_and_max(body: str, act: str) -> None:
    numbers = {"z": 0, "s": 6, "t": 3}
    used = {k: np.array(v, np.float32) for k, v in numbers.items() if f"{k})" in body or f"({k}," in body}
    text = f"(float[1,3,6,5] x) => (float[1,4,6,5] y) {{ h = Conv(x, w) {body} }}"
    model = parse(text, 17, w=np.random.default_rng(5).standard_normal((4, 3, 1, 1)).astype(np.float32), **used)
    before = model.clone()
    assert EliminateNops()(model).modified
    check_same(before, model)
    assert not EliminateNops()(model).modified
    assert FuseActivation()(model).modified
    assert ops(model) == ["Conv"] and model.graph[0].attributes["es_act"].as_string() == act
    check_same(before, model)
