"""FuseActivation: every spelling becomes an epilogue with the same numbers; what must stay, stays."""

from __future__ import annotations

import logging
from math import inf

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.passes.fuse_activation import FuseActivation
from edgesparse.types import Array
from tests.passes.unfuse import check_same, ops, parse

RNG = np.random.default_rng(3)


def weights(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def conv(body: str, opset: int = 17, /, **extra: Array) -> ir.Model:
    """``h = Conv(x)``, then ``body``, which makes ``y`` of the same shape."""
    text = f"(float[1,3,6,5] x) => (float[1,4,6,5] y) {{ h = Conv(x, w, b) {body} }}"
    return parse(text, opset, w=weights(4, 3, 1, 1), b=weights(4), **extra)


def number(value: float) -> Array:
    return np.array(value, np.float32)


HALF, ONE = number(0.5), number(1)
ERF = "u = Div(h, root) e = Erf(u) a = Add(e, one)"
TANH = "p = Pow(h, three) q = Mul(p, c) s = Add(h, q) u = Mul(s, k) t = Tanh(u) a = Add(t, one)"
GELU_NUMBERS = {
    "half": HALF, "one": ONE, "three": number(3), "c": number(0.044715),
    "k": number(0.7978845608), "root": number(1.4142),
}  # fmt: skip

FORMS = [
    ("relu", "y = Relu(h)", 17, {}, (0, inf)),
    ("clip", "y = Clip(h, lo, hi)", 17, {"lo": number(-1), "hi": number(6)}, (-1, 6)),
    ("clip", "y = Clip(h, , hi)", 17, {"hi": number(0.5)}, (-inf, 0.5)),
    ("clip", "y = Clip(h, lo)", 17, {"lo": number(-0.5)}, (-0.5, inf)),
    ("relu", "y = Clip(h, lo)", 17, {"lo": number(0)}, (0, inf)),
    ("clip", "y = Clip<min = -1.0, max = 2.0>(h)", 9, {}, (-1, 2)),
    ("relu", "y = Clip<min = 0.0>(h)", 9, {}, None),
    ("leaky_relu", "y = LeakyRelu<alpha = 0.25>(h)", 17, {}, (0.25, 0)),
    ("leaky_relu", "y = LeakyRelu(h)", 17, {}, (np.float32(0.01), 0)),
    ("leaky_relu", "y = PRelu(h, s)", 17, {"s": weights(1)}, None),
    ("prelu", "y = PRelu(h, s)", 17, {"s": weights(4, 1, 1)}, None),
    ("prelu", "y = PRelu(h, s)", 17, {"s": weights(1, 4, 1, 1)}, None),
    ("hard_sigmoid", "y = HardSigmoid<alpha = 0.3, beta = 0.4>(h)", 17, {}, None),
    ("hard_sigmoid", "a = Add(h, b3) c = Clip(a, z, s) y = Div(c, s)", 17,
     {"b3": number(3), "z": number(0), "s": number(6)}, None),
    ("hard_sigmoid", "m = Mul(h, k) a = Add(m, d) y = Clip(a, z, o)", 17,
     {"k": number(0.2), "d": HALF, "z": number(0), "o": ONE}, None),
    ("hard_swish", "y = HardSwish(h)", 17, {}, None),
    ("hard_swish", "g = HardSigmoid<alpha = 0.1666667, beta = 0.5>(h) y = Mul(h, g)", 17, {}, None),
    *(
        ("hard_swish", f"a = Add(h, b3) c = Clip(a, z, s) {tail}", 17,
         {"b3": number(3), "z": number(0), "s": number(6), "k": number(1 / 6)}, None)
        for tail in ("m = Mul(h, c) y = Div(m, s)", "m = Div(c, s) y = Mul(m, h)", "m = Mul(c, h) y = Mul(k, m)")
    ),
    ("hard_swish", "m = Mul(h, k) a = Add(d, m) c = Clip(a, z, o) y = Mul(h, c)", 17,
     {"k": number(1 / 6), "d": HALF, "z": number(0), "o": ONE}, None),
    ("sigmoid", "y = Sigmoid(h)", 17, {}, None),
    ("tanh", "y = Tanh(h)", 17, {}, None),
    ("silu", "g = Sigmoid(h) y = Mul(h, g)", 17, {}, None),
    ("silu", "g = Sigmoid(h) y = Mul(g, h)", 17, {}, None),
    ("gelu", "y = Gelu(h)", 20, {}, None),
    ("gelu_tanh", 'y = Gelu<approximate = "tanh">(h)', 20, {}, None),
    *(
        ("gelu", f"{ERF} {tail}", 17, GELU_NUMBERS, None)
        for tail in ("m = Mul(h, half) y = Mul(m, a)", "m = Mul(h, a) y = Mul(m, half)",
                     "m = Mul(half, a) y = Mul(h, m)", "m = Mul(a, h) y = Mul(half, m)")
    ),
    ("gelu", "u = Mul(h, r) e = Erf(u) f = Mul(e, half) a = Add(half, f) y = Mul(h, a)", 17,
     {"half": HALF, "r": number(0.70710678)}, None),
    *(
        ("gelu_tanh", f"{TANH} {tail}", 17, GELU_NUMBERS, None)
        for tail in ("m = Mul(h, half) y = Mul(m, a)", "m = Mul(h, a) y = Mul(m, half)")
    ),
    ("gelu_tanh",
     "p = Mul(h, h) q = Mul(p, h) r = Mul(q, c) s = Add(h, r) u = Mul(s, k) t = Tanh(u) a = Add(t, one) m = Mul(h, a) "
     "y = Mul(m, half)", 17, GELU_NUMBERS, None),
    ("gelu_tanh",
     "p = Mul(h, c) q = Mul(p, h) s = Add(one, q) v = Mul(h, k) u = Mul(v, s) t = Tanh(u) a = Add(t, one) "
     "m = Mul(half, h) y = Mul(m, a)", 17, GELU_NUMBERS, None),
]  # fmt: skip


def fused(model: ir.Model, expected: str) -> ir.Node:
    """Runs the pass twice; the only node left is the producer with ``es_act`` = expected."""
    assert FuseActivation()(model).modified
    assert not FuseActivation()(model).modified
    (node,) = model.graph
    assert node.attributes["es_act"].as_string() == expected
    return node


@pytest.mark.parametrize(
    ("act", "body", "opset", "numbers", "bounds"), FORMS, ids=[f"{form[0]}-{i}" for i, form in enumerate(FORMS)]
)
def test_a_convolution_takes_it(
    act: str, body: str, opset: int, numbers: dict[str, Array], bounds: tuple[float, float] | None
) -> None:
    model = conv(body, opset, **numbers)
    before = model.clone()
    node = fused(model, act)
    assert node.op_type == "Conv" and node.outputs[0].name == "y"
    if bounds is not None:
        assert (node.attributes["es_lo"].as_float(), node.attributes["es_hi"].as_float()) == bounds
    check_same(before, model, tolerance=2e-5 if "gelu" in act else 2e-6)


PRODUCERS = {
    "ConvTranspose": (
        "(float[1,3,4,4] x) => (float[1,2,8,8] y) { h = ConvTranspose<strides = [2,2]>(x, w) y = Relu(h) }",
        {"w": (3, 2, 2, 2)},
    ),
    "transB": (
        "(float[2,3] x) => (float[2,4] y) { h = Gemm<transB = 1>(x, w, b) y = Sigmoid(h) }", {"w": (4, 3), "b": (4,)},
    ),
    "Gemm": ("(float[2,3] x) => (float[2,4] y) { h = Gemm(x, w) y = Tanh(h) }", {"w": (3, 4)}),
    "MatMul": ("(float[2,5,3] x) => (float[2,5,4] y) { h = MatMul(x, w) y = Relu(h) }", {"w": (3, 4)}),
    "depthwise 1-D with slopes": (
        "(float[1,3,9] x) => (float[1,3,9] y) { h = Conv<group = 3, pads = [1,1]>(x, w) y = PRelu(h, s) }",
        {"w": (3, 1, 3), "s": (3, 1)},
    ),
    "ConvTranspose with slopes": (
        "(float[1,3,4,4] x) => (float[1,2,4,4] y) { h = ConvTranspose(x, w) y = PRelu(h, s) }",
        {"w": (3, 2, 1, 1), "s": (2, 1, 1)},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "shapes"), PRODUCERS.values(), ids=PRODUCERS)
def test_producers(text: str, shapes: dict[str, tuple[int, ...]]) -> None:
    model = parse(text, **{k: weights(*v) for k, v in shapes.items()})
    before = model.clone()
    assert FuseActivation()(model).modified
    assert len(model.graph) == 1 and "es_act" in model.graph[0].attributes
    check_same(before, model)


def test_slope_comes_after_bias_and_residual() -> None:
    model = conv("y = PRelu(h, s)", s=weights(4, 1, 1))
    node = model.graph[0]
    x = model.graph.inputs[0]
    node.resize_inputs(4)
    node.replace_input_with(3, x)  # as FuseResidual leaves it; the pass must not care what it is
    node.attributes["es_residual_input"] = ir.AttrInt64("es_residual_input", 3)
    assert FuseActivation()(model).modified
    assert node.attributes["es_slope_input"].as_int() == 4
    assert node.inputs[3] is x


@pytest.mark.parametrize(
    ("body", "numbers", "act", "left"),
    [
        ("a = Abs(h) g = Sigmoid(a) y = Mul(a, g)", {}, "silu", ["Conv", "Abs", "edgesparse::Activation"]),
        ("a = Abs(h) b3 = Add(a, three) c = Clip(b3, z, s) m = Mul(a, c) y = Div(m, s)",
         {"three": number(3), "z": number(0), "s": number(6)}, "hard_swish", ["Conv", "Abs", "edgesparse::Activation"]),
        ("q = Abs(h) u = Div(q, root) e = Erf(u) a = Add(e, one) m = Mul(q, half) y = Mul(m, a)",
         {k: GELU_NUMBERS[k] for k in ("root", "one", "half")}, "gelu", ["Conv", "Abs", "edgesparse::Activation"]),
        ("y = Relu(h) ", {}, "", ["Abs", "Relu"]),
    ],
)  # fmt: skip
def test_without_a_producer_it_is_one_node(body: str, numbers: dict[str, Array], act: str, left: list[str]) -> None:
    if act:
        model = conv(body, **numbers)
    else:
        model = parse("(float[2,3] x) => (float[2,3] y) { a = Abs(x) y = Relu(a) }")
    before = model.clone()
    assert FuseActivation()(model).modified is bool(act)
    assert not FuseActivation()(model).modified
    assert ops(model) == left
    if act:
        assert model.opset_imports["edgesparse"] == 1
        assert model.graph[-1].attributes["es_act"].as_string() == act
    check_same(before, model, tolerance=2e-5)


def test_swish_operator() -> None:
    model = conv("y = Swish(h)", 24)
    assert FuseActivation()(model).modified
    assert ops(model) == ["Conv"]
    other = conv("y = Swish<alpha = 1.7>(h)", 24)
    assert not FuseActivation()(other).modified


PRODUCTS = {
    "two activations": parse("(float[2,3] x, float[3,4] w) => (float[2,4] y) { h = MatMul(x, w) y = Tanh(h) }"),
    "batches": parse("(float[2,5,3] x, float[2,3,4] w) => (float[2,5,4] y) { h = MatMul(x, w) y = Relu(h) }"),
    "transA": parse("(float[3,2] x) => (float[2,4] y) { h = Gemm<transA = 1>(x, w) y = Relu(h) }", w=weights(3, 4)),
    "a bias a row": parse(
        "(float[2,3] x) => (float[2,4] y) { h = Gemm(x, w, b) y = Relu(h) }", w=weights(3, 4), b=weights(2, 1)
    ),
    "slopes of a Gemm": parse(
        "(float[2,3] x) => (float[2,4] y) { h = Gemm<transB = 1>(x, w, b) y = PRelu(h, s) }", w=weights(4, 3),
        b=weights(4), s=weights(4),
    ),
    "slopes of a MatMul": parse(
        "(float[2,3] x) => (float[2,4] y) { h = MatMul(x, w) y = PRelu(h, s) }", w=weights(3, 4), s=weights(1, 4)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_into_products(name: str) -> None:
    model = PRODUCTS[name].clone()
    before = model.clone()
    assert FuseActivation()(model).modified
    assert len(ops(model)) == 1
    check_same(before, model)


REFUSED = {
    "read elsewhere": (conv("r = Relu(h) y = Add(r, h)"), "its output is read elsewhere, too"),
    "run-time weights": (
        parse("(float[1,3,4,4] x, float[2,3,1,1] w) => (float[1,2,4,4] y) { h = Conv(x, w) y = Relu(h) }"),
        "its weights are not constant",
    ),
    "slope": (
        parse(
            "(float[1,4,3] x) => (float[1,4,4] y) { h = MatMul(x, w) y = PRelu(h, s) }", w=weights(3, 4),
            s=weights(4, 1),
        ),
        "this MatMul takes no slope per channel",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "reason"), REFUSED.values(), ids=REFUSED)
def test_refusals_are_logged(model: ir.Model, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "edgesparse")
    before = model.clone()
    assert not FuseActivation()(model).modified
    assert ops(model) == ops(before)
    (message,) = caplog.messages
    assert message.endswith(reason) and "'h'" in message
    check_same(before, model)


def test_only_one_activation_is_fused(caplog: pytest.LogCaptureFixture) -> None:
    model = conv("r = Relu(h) y = Sigmoid(r)")
    before = model.clone()
    assert FuseActivation()(model).modified
    assert ops(model) == ["Conv", "Sigmoid"]
    caplog.set_level(logging.DEBUG, "edgesparse")
    assert not FuseActivation()(model).modified
    assert caplog.messages == ["Sigmoid 'y' is not fused into Conv 'h': it has an activation already"]
    check_same(before, model)


def test_an_output_of_the_graph_between_stays(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "edgesparse")
    text = "(float[1,3,6,5] x) => (float[1,4,6,5] h, float[1,4,6,5] y) { h = Conv(x, w) y = Relu(h) }"
    model = parse(text, w=weights(4, 3, 1, 1))
    assert not FuseActivation()(model).modified
    assert caplog.messages == ["Relu 'y' is not fused into Conv 'h': its output is read elsewhere, too"]


@pytest.mark.parametrize(
    "body",
    [
        "g = Sigmoid(h) m = Mul(h, g) y = Add(m, g)",  # the gate is read elsewhere
        "g = HardSigmoid<alpha = 0.2, beta = 0.5>(h) y = Mul(h, g)",  # not HardSwish's slope
        "k = Mul(h, h) g = Sigmoid(k) y = Mul(h, g)",  # not the gate of its own x
    ],
)
def test_near_misses(body: str) -> None:
    model = conv(body)
    before = model.clone()
    FuseActivation()(model)
    assert not any("es_act" in node.attributes and node.op_type == "Conv" for node in model.graph)
    check_same(before, model)


def test_a_part_of_a_pattern_with_other_readers() -> None:
    """Clip(0.2 h + 0.5, 0, 1) whose inside is read again is still a Clip, and the numbers stay."""
    numbers = {"k": number(0.2), "d": HALF, "z": number(0), "o": ONE}
    model = conv("m = Mul(h, k) a = Add(m, d) c = Clip(a, z, o) y = Add(c, a)", **numbers)
    before = model.clone()
    assert not FuseActivation()(model).modified
    check_same(before, model)


def test_a_constant_that_widens_the_result() -> None:
    text = "(float[2,3] x) => (float[1,2,3] y) { g = Sigmoid(x) m = Mul(x, g) y = Mul(m, one) }"
    model = parse(text, one=np.ones((1, 1, 1), np.float32))
    before = model.clone()
    FuseActivation()(model)
    assert ops(model) == ["edgesparse::Activation", "Mul"]
    check_same(before, model)
