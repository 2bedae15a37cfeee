"""MatmulToConv: products over many rows become 1x1 convolutions, with as few Transposes as there can be."""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.passes.matmul_to_conv import MatmulToConv
from edgesparse.passes.merge_layouts import MergeLayouts
from edgesparse.types import Array
from tests.passes.unfuse import check_same, ops, parse

RNG = np.random.default_rng(12)


def weights(*shape: int) -> Array:
    array: Array = RNG.standard_normal(shape) / np.sqrt(shape[0])
    return array.astype(np.float32)


CONSTANTS = {
    "w": weights(6, 6), "v": weights(6, 12), "u": weights(12, 6), "b": weights(6), "c": weights(12), "p": weights(9, 6),
    "one": np.array(1, np.float32), "two": np.array(2, np.float32), "half": np.array(0.5, np.float32),
    "root": np.array(np.sqrt(2), np.float32), "heads": np.array([1, 9, 2, 3]), "joined": np.array([1, 9, 6]),
    "flat": np.array([9, 6]), "column": weights(9, 1),
}  # fmt: skip


def model_of(body: str, shape: str = "1,9,6", outputs: str = "float[1,9,6] y") -> ir.Model:
    used = {k: v for k, v in CONSTANTS.items() if f", {k})" in body or f"({k}," in body or f", {k}," in body}
    return parse(f"(float[{shape}] x) => ({outputs}) {{ {body} }}", 20, **used)


CONVERTED = {
    # body: what is left, Transposes apart, and how many of these
    "product": ("y = MatMul(x, w)", ["Conv"], 2),
    "bias": ("h = MatMul(x, w) y = Add(h, b)", ["Conv", "Add"], 2),
    "bias from the left": ("h = MatMul(x, w) y = Add(b, h)", ["Conv", "Add"], 2),
    "two": ("a = MatMul(x, v) r = Relu(a) y = MatMul(r, u)", ["Conv", "Relu", "Conv"], 2),
    "gelu": (
        "a = MatMul(x, v) d = Div(a, root) e = Erf(d) f = Add(e, one) g = Mul(a, f) h = Mul(g, half) y = MatMul(h, u)",
        ["Conv", "Div", "Erf", "Add", "Mul", "Mul", "Conv"], 2,
    ),
    "normalised residual": (
        "n = LayerNormalization(x, b, b) a = MatMul(n, v) r = Relu(a) h = MatMul(r, u) s = Add(x, h) "
        "m = LayerNormalization(s, b) g = MatMul(m, w) y = Add(s, g)",
        ["LayerNormalization", "Conv", "Relu", "Conv", "Add", "LayerNormalization", "Conv", "Add"], 2,
    ),
    "position": ("h = MatMul(x, w) s = Add(h, p) y = MatMul(s, w)", ["Conv", "Add", "Conv"], 2),
    "number a row": ("h = MatMul(x, w) s = Mul(h, column) y = MatMul(s, w)", ["Conv", "Mul", "Conv"], 2),
    "softmax between": ("h = MatMul(x, w) s = Softmax(h) y = MatMul(s, w)", ["Conv", "Softmax", "Conv"], 4),
    "reshaped": ("f = Reshape(x, flat) h = MatMul(f, w) y = Reshape(h, joined)", ["Conv"], 2),
    "attention": (
        "q = MatMul(x, w) qs = Reshape(q, heads) qt = Transpose<perm=[0,2,1,3]>(qs) "
        "k = MatMul(x, w) ks = Reshape(k, heads) kt = Transpose<perm=[0,2,3,1]>(ks) "
        "v_ = MatMul(x, w) vs = Reshape(v_, heads) vt = Transpose<perm=[0,2,1,3]>(vs) "
        "s = MatMul(qt, kt) t = Softmax(s) a = MatMul(t, vt) at = Transpose<perm=[0,2,1,3]>(a) "
        "j = Reshape(at, joined) h = MatMul(j, w) y = Add(x, h)",
        ["Conv", "Conv", "Conv", "MatMul", "Softmax", "MatMul", "Conv", "Add"], 5,  # x, q, v, a, y
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVERTED)
def test_converts(name: str) -> None:
    body, expected, transposes = CONVERTED[name]
    model = model_of(body)
    before = model.clone()
    assert MatmulToConv()(model).modified
    MergeLayouts()(model)
    left = ops(model)
    assert [op for op in left if op not in ("Transpose", "Reshape")] == expected
    assert left.count("Transpose") == transposes
    check_same(before, model)
    assert not MatmulToConv()(model).modified


GEMMS = {
    "plain": ("y = Gemm(x, w)", (6, 6)),
    "bias": ("y = Gemm(x, w, b)", (6, 6)),
    "a number": ("y = Gemm<beta = 3.0>(x, w, one)", (6, 6)),
    "transposed, scaled": ("y = Gemm<transB = 1, alpha = 0.5, beta = 2.0>(x, w, b)", (6, 6)),
}


@pytest.mark.parametrize("name", GEMMS)
def test_converts_gemm(name: str) -> None:
    model = model_of(GEMMS[name][0], "9,6", "float[9,6] y")
    before = model.clone()
    assert MatmulToConv()(model).modified
    assert [op for op in ops(model) if op != "Reshape"] == ["Transpose", "Conv", "Transpose"]
    check_same(before, model)


def test_shared_weights_stay_shared() -> None:
    model = model_of("h = MatMul(x, w) y = MatMul(h, w)")
    MatmulToConv()(model)
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    assert convolutions[0].inputs[1] is convolutions[1].inputs[1]


def test_between_convolutions() -> None:
    """ConvNeXt's block: the Transposes around the products vanish."""
    body = """
        d = Conv<group = 6, pads = [1, 1, 1, 1]>(x, k) t = Transpose<perm = [0, 2, 3, 1]>(d)
        n = LayerNormalization(t, b, b) h = MatMul(n, v) r = Relu(h) g = MatMul(r, u)
        f = Transpose<perm = [0, 3, 1, 2]>(g) y = Add(x, f)
    """
    given = {k: CONSTANTS[k] for k in "buv"}
    model = parse(f"(float[1,6,4,5] x) => (float[1,6,4,5] y) {{ {body} }}", 20, k=weights(6, 1, 3, 3), **given)
    before = model.clone()
    assert MatmulToConv()(model).modified
    MergeLayouts()(model)
    assert "Transpose" not in ops(model)
    check_same(before, model)


def test_intermediate_outputs_keep_their_names() -> None:
    model = model_of("h = MatMul(x, w) r = Relu(h) y = MatMul(r, w)", outputs="float[1,9,6] y, float[1,9,6] h")
    before = model.clone()
    assert MatmulToConv()(model).modified
    check_same(before, model)


REFUSED = {
    "few rows": ("y = MatMul(x, w)", "1,7,6", "float[1,7,6] y", "7 rows are too few"),
    "three dimensions": ("y = MatMul(x, t)", "1,9,6", "float[1,9,6] y", "not a matrix"),
    "a bias a row": ("y = Gemm(x, w, column)", "9,6", "float[9,6] y", "not one constant a column"),
    "a transposed operand": ("y = Gemm<transA = 1>(x, q)", "9,6", "float[6,6] y", "transposed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_its_reason(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "edgesparse")
    body, shape, outputs, reason = REFUSED[name]
    extra = {"t": weights(1, 6, 6), "q": weights(9, 6), **CONSTANTS}
    used = {k: v for k, v in extra.items() if f", {k})" in body or f", {k}," in body}
    model = parse(f"(float[{shape}] x) => ({outputs}) {{ {body} }}", 20, **used)
    assert not MatmulToConv()(model).modified
    assert any(reason in message for message in caplog.messages), caplog.messages


@pytest.mark.parametrize(("body", "shape"), [("y = MatMul(x, w)", "1,6"), ("y = MatMul(x, x)", "9,9")])
def test_leaves_classifiers_and_products_of_activations(
    body: str, shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = model_of(body, shape, f"float[{shape}] y")
    caplog.set_level(logging.DEBUG, "edgesparse")
    assert not MatmulToConv()(model).modified
    assert not caplog.messages


@pytest.mark.parametrize("seed", range(25))
def test_random_networks(seed: int) -> None:
    """Values (1, 9, 6), combined at random; at most two more Transposes a product."""
    rng = np.random.default_rng(seed)
    forms = [
        "MatMul({a}, w)", "MatMul({a}, w)", "Add({a}, b)", "Add({a}, {b})", "Mul({a}, {b})", "Relu({a})",
        "LayerNormalization({a}, b)", "Softmax({a})", "Sub({a}, p)", "Reshape({a}, joined)",
    ]  # fmt: skip
    names, body = ["x"], ""
    for step in range(int(rng.integers(3, 10))):
        a, b = (str(rng.choice(names[-3:])) for _ in range(2))
        body += f" t{step} = {rng.choice(forms).format(a=a, b=b)}"
        names.append(f"t{step}")
    body += f" m = MatMul({names[-1]}, w) y = Tanh(m)"
    model = model_of(body)
    before = model.clone()
    products = ops(model).count("MatMul")
    assert MatmulToConv()(model).modified
    assert ops(model).count("Transpose") <= 2 * products
    check_same(before, model, tolerance=1e-5)
