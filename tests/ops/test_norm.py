"""Normalisations against onnxruntime, and against NumPy in double precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import edgesparse as es
from tests.ops.many import Array, Cases, floats


def normalised(x: Array, axes: tuple[int, ...], epsilon: float = 1e-5, center: bool = True) -> Array:
    wide = x.astype(np.float64)
    wide = wide - wide.mean(axes, keepdims=True) * center
    return np.asarray(wide / np.sqrt(np.square(wide).mean(axes, keepdims=True) + epsilon))


def test_layer(tmp_path: Path) -> None:
    cases = Cases(opset=17)
    for shape in ((5,), (1, 1), (3, 1), (2, 3, 17), (1, 7, 64), (4, 100), (1, 2, 3, 33)):
        x = floats(*shape, scale=3) + np.float32(5)
        for axis in {-1, 0, len(shape) // 2}:
            inner = shape[axis:]
            scale, bias = floats(*inner, seed=1), floats(*inner, seed=2)
            cases.add("LayerNormalization", x, scale, bias, axis=axis)
            cases.add("LayerNormalization", x, scale, axis=axis, epsilon=0.1)
            cases.add("LayerNormalization", x, scale, bias, constant=[1, 2], axis=axis)
    cases.add("LayerNormalization", floats(2, 0, 3), floats(3), floats(3))
    cases.check(tmp_path, rtol=3e-6, atol=3e-6)


def test_mean_and_inverse_deviation(tmp_path: Path) -> None:
    x, names = floats(2, 3, 17) + np.float32(2), ["y", "mean", "inverse"]
    for axis, small in ((-1, (2, 3, 1)), (1, (2, 1, 1))):
        shape = x.shape[axis:]
        node = helper.make_node("LayerNormalization", ["x", "s"], names, axis=axis)
        ports = [helper.make_tensor_value_info(n, 1, d) for n, d in zip(names, (x.shape, small, small), strict=True)]
        inputs = [helper.make_tensor_value_info("x", 1, x.shape), helper.make_tensor_value_info("s", 1, shape)]
        graph = helper.make_graph([node], "g", inputs, ports)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        onnx.save(model, tmp_path / "m.onnx")
        feed = {"x": x, "s": np.ones(shape, np.float32)}
        bundle = es.compile(es.load(tmp_path / "m.onnx"), device="host", out=tmp_path / "m.edge", force=True)
        with es.open(bundle, runtime="local") as session:
            got = session.run(feed)
        answers = onnxruntime.InferenceSession(model.SerializeToString()).run(names, feed)
        for name, expect in zip(names, answers, strict=True):
            np.testing.assert_allclose(got[name], expect, rtol=3e-6, atol=1e-6, err_msg=name)


def test_layer_with_a_broadcast_scale(tmp_path: Path) -> None:
    cases, x = Cases(opset=17), floats(2, 3, 4, 5)
    for scale, bias in (((), (5,)), ((1,), (4, 1)), ((5,), (1, 5)), ((4, 1), ()), ((1, 1, 4, 5), (4, 5))):
        for constant in ([], [1, 2]):
            s, b = floats(*scale, seed=1), floats(*bias, seed=2)
            expect = normalised(x, (2, 3)) * s + b
            cases.add("LayerNormalization", x, s, b, constant=constant, axis=2, expect=expect.astype(np.float32))
    cases.check(tmp_path, rtol=2e-6, atol=2e-6)


def test_root_mean_square(tmp_path: Path) -> None:
    cases = Cases(opset=23)
    for shape, axis in (((4, 33), -1), ((2, 3, 5), 1), ((7,), 0), ((2, 3, 16), 2)):
        x, scale = floats(*shape) + np.float32(1), floats(*shape[axis:], seed=1)
        axes = tuple(range(axis % len(shape), len(shape)))
        expect = (normalised(x, axes, center=False) * scale).astype(np.float32)
        cases.add("RMSNormalization", x, scale, axis=axis, expect=expect)
        cases.add("RMSNormalization", x, scale, constant=[1], axis=axis, expect=expect)
    cases.check(tmp_path, rtol=2e-6)


def test_variance_far_from_zero(tmp_path: Path) -> None:
    """The mean is 10,000 times the deviation: E[x^2] - E[x]^2 would have no digit left."""
    cases, x = Cases(opset=17), floats(3, 1000) + np.float32(10_000)
    one, zero = np.ones(1000, np.float32), np.zeros(1000, np.float32)
    cases.add("LayerNormalization", x, one, zero, expect=normalised(x, (1,)).astype(np.float32))
    image = x.reshape(1, 3, 10, 100)
    expect = normalised(image, (2, 3)).astype(np.float32)
    cases.add("InstanceNormalization", image, one[:3], zero[:3], expect=expect)
    cases.check(tmp_path, rtol=1e-5, atol=1e-3)  # one ulp of the mean is a thousandth of the deviation


def test_instance_and_batch(tmp_path: Path) -> None:
    cases = Cases(opset=17)
    for shape in ((1, 1, 4), (2, 3, 5), (1, 8, 7, 9), (2, 5, 3, 1, 11), (1, 3, 16)):
        c = shape[1]
        x, scale, bias = floats(*shape, scale=2), floats(c, seed=1), floats(c, seed=2)
        mean, var = floats(c, seed=3), np.abs(floats(c, seed=4)) + np.float32(0.1)
        cases.add("InstanceNormalization", x, scale, bias)
        cases.add("InstanceNormalization", x, scale, bias, constant=[1, 2], epsilon=0.01)
        cases.add("BatchNormalization", x, scale, bias, mean, var)
        cases.add("BatchNormalization", x, scale, bias, mean, var, constant=[1, 2, 3, 4], epsilon=0.01)
    x = floats(5, 19)
    cases.add("BatchNormalization", x, *(np.abs(floats(19, seed=i)) + np.float32(0.2) for i in range(4)))
    cases.check(tmp_path, rtol=1e-5, atol=3e-6)


def test_groups(tmp_path: Path) -> None:
    cases = Cases(opset=21)
    for shape, groups in (((2, 6, 5), 3), ((1, 4, 3, 7), 1), ((1, 4, 3, 7), 4), ((3, 8, 1), 2), ((1, 32, 4, 4), 8)):
        n, c = shape[:2]
        x, scale, bias = floats(*shape, scale=2), floats(c, seed=1), floats(c, seed=2)
        grouped = x.reshape(n, groups, -1)
        y = normalised(grouped, (2,)).reshape(n, c, -1)
        expect = (y * scale[:, None] + bias[:, None]).reshape(shape).astype(np.float32)
        cases.add("GroupNormalization", x, scale, bias, num_groups=groups, expect=expect)
    cases.check(tmp_path, rtol=2e-6, atol=2e-6)


def test_lp(tmp_path: Path) -> None:
    cases, x = Cases(opset=17), floats(3, 4, 5, scale=2)
    x[1] = 0
    x[0, :, 2] = 0
    for axis in (0, 1, 2, -1):
        for p in (1, 2):
            norm = np.linalg.norm(x.astype(np.float64), ord=p, axis=axis, keepdims=True)
            expect = np.divide(x, norm, out=np.zeros(x.shape), where=norm != 0).astype(np.float32)
            cases.add("LpNormalization", x, axis=axis, p=p, expect=expect)
    cases.check(tmp_path, rtol=1e-6)


def test_refused(tmp_path: Path) -> None:
    """One of the two further outputs, training mode, a scale that changes along an axis that stays."""
    nodes = [
        helper.make_node("LayerNormalization", ["x", "s"], ["a", "", "deviation"], "one_more"),
        helper.make_node("LayerNormalization", ["x", "wide"], ["b"], "wide_scale"),
        helper.make_node("BatchNormalization", ["x", *"ssss"], ["c", "m", "v"], "training", training_mode=1),
    ]
    shapes = {"x": [2, 3], "s": [3], "wide": [2, 3], "a": [2, 3], "deviation": [2, 1], "b": [2, 3], "c": [2, 3]}
    ports = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(
        nodes, "g", [ports[n] for n in ("x", "s", "wide")], [ports[n] for n in ("a", "deviation", "b", "c")]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(es.UnsupportedError) as caught:
        es.compile(es.load(tmp_path / "m.onnx"), device="host", out=tmp_path / "m.edge")
    for text in ("one more output, 'deviation'", "a scale or bias of shape (2, 3)", "training mode"):
        assert text in str(caught.value)


def test_shapes_behind_group_normalisation_are_known(tmp_path: Path) -> None:
    """onnx infers no shape for this operator, so what reads it needs our help."""
    nodes = [
        helper.make_node("GroupNormalization", ["x", "s", "s"], ["a"], num_groups=2),
        helper.make_node("Sin", ["a"], ["b"]),
        helper.make_node("GroupNormalization", ["b", "s", "s"], ["c"], num_groups=1),
        helper.make_node("ReduceMean", ["c"], ["y"], keepdims=0),
    ]
    one = onnx.numpy_helper.from_array(np.ones(4, np.float32), "s")
    x, y = helper.make_tensor_value_info("x", 1, [1, 4, 3]), helper.make_tensor_value_info("y", 1, [])
    graph = helper.make_graph(nodes, "g", [x], [y], [one])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "m.onnx")
    bundle = es.compile(es.load(tmp_path / "m.onnx"), device="host", out=tmp_path / "m.edge")
    with es.open(bundle, runtime="local") as session:
        got = session.run({"x": floats(1, 4, 3)})["y"]
    assert abs(float(got) - 1) < 1e-5  # the mean of what was normalised and shifted by 1
