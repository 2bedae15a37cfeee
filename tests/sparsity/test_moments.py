from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from edgesparse.errors import InputError
from edgesparse.passes.weights import find_weights
from edgesparse.sparsity.calibration import check_samples, inner_values
from edgesparse.sparsity.layer import layer_of, moments_of
from edgesparse.types import Array
from tests import tiny_models


def _model(nodes: list[onnx.NodeProto], shape: list[int | str], weights: dict[str, Array]) -> ir.Model:
    """From "x" of this shape to "y"."""
    output = onnx.ValueInfoProto(name="y")
    return ir.from_proto(tiny_models.model(nodes, [tiny_models.f32("x", *shape)], [output], weights))


def _outputs(model: ir.Model, x: Array) -> Array:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    found: Array = session.run(None, {"x": x})[0]
    return found


@given(
    st.integers(0, 10**6), st.sampled_from([(1, 1), (3, 3), (2, 5), (1, 3)]),
    st.tuples(st.integers(1, 2), st.integers(1, 3)),
    st.tuples(*[st.integers(0, 2)] * 4), st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_convolution_is_its_weights_times_its_patches(
    seed: int, kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, ...], dilations: tuple[int, int],
    auto_pad: str,
) -> None:  # fmt: skip
    """The moments of a dense layer say that its own weights have no error, and what another's error is."""
    rng = np.random.default_rng(seed)
    if auto_pad != "NOTSET":
        pads, dilations = (0, 0, 0, 0), (1, 1) if auto_pad != "VALID" else dilations
    w, b = rng.standard_normal((3, 2, *kernel)).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    how = {"pads": pads} if auto_pad == "NOTSET" else {"auto_pad": auto_pad}
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="c", strides=strides, dilations=dilations, **how)
    model = _model([node], ["n", 2, 11, 12], {"w": w, "b": b})
    x = rng.standard_normal((3, 2, 11, 12)).astype(np.float32)
    (weight,) = find_weights(model)
    layer = layer_of(weight)
    moments = moments_of(layer, model, model, {"x": x})
    dense = layer.dense()
    assert moments.error(dense) == pytest.approx(0, abs=1e-9)
    other = dense + rng.standard_normal(dense.shape)
    layer.replace(model, other)
    before, after = _outputs(_model([node], ["n", 2, 11, 12], {"w": w, "b": b}), x), _outputs(model, x)
    expected = np.square(after.astype(np.float64) - before).mean() / np.square(before.astype(np.float64)).mean()
    assert moments.error(other) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("node", "shape", "x"),
    [
        (helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="g", transB=1), (4, 6), (5, 6)),
        (helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="g", alpha=0.5, beta=2.0), (6, 4), (5, 6)),
        (helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="g", transA=1), (6, 4), (6, 5)),
        (helper.make_node("Gemm", ["w", "x"], ["y"], name="g", alpha=3.0), (4, 6), (6, 5)),
        (helper.make_node("Gemm", ["w", "x"], ["y"], name="g", transA=1, transB=1), (6, 4), (5, 6)),
        (helper.make_node("MatMul", ["x", "w"], ["y"], name="m"), (6, 4), (2, 3, 6)),
        (helper.make_node("MatMul", ["w", "x"], ["y"], name="m"), (4, 6), (2, 6, 3)),
    ],
)
def test_gemm_and_matmul_in_every_orientation(node: onnx.NodeProto, shape: tuple[int, ...], x: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(4).astype(np.float32)
    model = _model([node], list(x), {"w": w, "b": b})
    samples = rng.standard_normal(x).astype(np.float32)
    (weight,) = find_weights(model)
    layer = layer_of(weight)
    moments, dense = moments_of(layer, model, model, {"x": samples}), layer.dense()
    assert moments.error(dense) == pytest.approx(0, abs=1e-9)
    before, other = _outputs(model, samples), dense + rng.standard_normal(dense.shape)
    layer.replace(model, other)
    expected = np.square(_outputs(model, samples).astype(np.float64) - before).mean() / np.square(before).mean()
    assert moments.error(other) == pytest.approx(expected, rel=1e-4)


def test_the_bias_of_a_matmul_is_the_add_behind_it() -> None:
    rng = np.random.default_rng(1)
    w, b = rng.standard_normal((6, 4)).astype(np.float32), rng.standard_normal(4).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="m"),
        helper.make_node("Add", ["b", "h"], ["y"], name="a"),
    ]
    model = _model(nodes, ["n", 6], {"w": w, "b": b})
    layer = layer_of(find_weights(model)[0])
    assert layer.bias is not None and np.array_equal(layer.dense()[:, -1], b)
    x = rng.standard_normal((7, 6)).astype(np.float32)
    moved = layer.dense() + 1
    layer.replace(model, moved)
    assert np.allclose(_outputs(model, x), x @ (w + 1) + b + 1, atol=1e-5)


def test_a_convolution_without_bias_gets_one() -> None:
    rng = np.random.default_rng(2)
    w = rng.standard_normal((4, 3, 1, 1)).astype(np.float32)
    model = _model([helper.make_node("Conv", ["x", "w"], ["y"], name="c")], ["n", 3, 2, 2], {"w": w})
    layer = layer_of(find_weights(model)[0])
    x = rng.standard_normal((2, 3, 2, 2)).astype(np.float32)
    before = _outputs(model, x)
    dense = layer.dense()
    dense[:, -1] += [1, 2, 3, 4]
    layer.replace(model, dense)
    assert np.allclose(_outputs(model, x), before + np.array([1, 2, 3, 4]).reshape(1, 4, 1, 1), atol=1e-5)


def test_a_bias_that_other_layers_read_is_not_touched() -> None:
    rng = np.random.default_rng(3)
    w, b = rng.standard_normal((3, 3, 1, 1)).astype(np.float32), np.zeros(3, np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["h"], name="first"),
        helper.make_node("Conv", ["h", "v", "b"], ["y"], name="second"),
    ]
    model = _model(nodes, ["n", 3, 2, 2], {"w": w, "v": w + 1, "b": b})
    layer = layer_of(find_weights(model)[0])
    layer.replace(model, layer.dense() + 1)
    second = next(n for n in model.graph if n.name == "second")
    assert second.inputs[2] is not None and second.inputs[2].const_value is not None
    assert np.array_equal(second.inputs[2].const_value.numpy(), b)


@pytest.mark.parametrize("batch", ["n", 1, 2, 5])
def test_inner_values_are_the_same_in_any_batch(batch: int | str) -> None:
    rng = np.random.default_rng(4)
    w = rng.standard_normal((3, 2, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"], name="c"), helper.make_node("Relu", ["h"], ["y"], name="r")]
    model = _model(nodes, [batch, 2, 5, 5], {"w": w})
    x = rng.standard_normal((7, 2, 5, 5)).astype(np.float32)
    free = _model(nodes, ["n", 2, 5, 5], {"w": w})
    outputs = [v for n in model.graph for v in n.outputs]
    parts = list(inner_values(model, [model.graph.inputs[0], *outputs], {"x": x}))
    given_, hidden, last = (np.concatenate(one) for one in zip(*parts, strict=True))
    assert np.array_equal(given_, x)
    assert np.allclose(last, _outputs(free, x), atol=1e-6) and np.array_equal(last, np.maximum(hidden, 0))


BAD: dict[str, tuple[Any, str]] = {
    "another name": ({"z": np.zeros((2, 2, 5, 5))}, "calibration holds z; the inputs of the model are x"),
    "rank": ({"x": np.zeros((2, 5, 5))}, r"shape \[2, 5, 5\] is not \[n, 2, 5, 5\]"),
    "dimension": ({"x": np.zeros((2, 2, 5, 6))}, r"shape \[2, 2, 5, 6\] is not \[n, 2, 5, 5\]"),
    "none": ({"x": np.zeros((0, 2, 5, 5))}, "no samples"),
    "text": ({"x": np.full((2, 2, 5, 5), "a")}, "numbers, but the model reads"),
    "nan": ({"x": np.full((2, 2, 5, 5), np.nan)}, "NaN or infinity in 2 of 2 samples, the first is number 0"),
    "batches": ([{"x": np.zeros((2, 2, 5, 5))}, {"x": np.zeros((2, 2, 5, 6))}], "the batches do not fit each other"),
    "no batches": ([], "calibration is no mapping"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_samples(case: str) -> None:
    model = _model([helper.make_node("Relu", ["x"], ["y"], name="r")], ["n", 2, 5, 5], {})
    samples, text = BAD[case]
    with pytest.raises(InputError, match=text):
        check_samples(model, samples)


def test_an_iterator_of_batches_is_joined() -> None:
    model = _model([helper.make_node("Relu", ["x"], ["y"], name="r")], ["n", 2], {})
    found = check_samples(model, ({"x": np.full((k, 2), k, np.float64)} for k in (1, 2)))
    assert found["x"].dtype == np.float32 and found["x"][:, 0].tolist() == [1, 2, 2]
