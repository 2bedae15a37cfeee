"""Zeros in what layers write, beside those that onnxruntime finds in the same tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgesparse as es
from edgesparse.manifest import read_manifest
from edgesparse.profile import profile
from edgesparse.runtimes import open as open_bundle
from edgesparse.samples import random_inputs
from tests.stages.test_bands import network as banded
from tests.stages.test_bands import small_cache  # noqa: F401 (a fixture)

RUNTIMES = {
    "local": ("host", "f32"), "qemu": ("rpi5", "f32"), "qemu f16": ("rpi5", "f16"), "node": ("browser", "f32"),
    "chromium": ("browser", "f32"),
}  # fmt: skip


def network() -> onnx.ModelProto:
    """x -> Conv, Relu -> a -> MaxPool -> b, of planes of 7x7, which are padded; two Convs with Relu of it -> c1 and c2,
    concatenated -> c; Conv, Relu -> y."""
    random = np.random.default_rng(3)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((random.standard_normal(shape) / 4).astype(np.float32), name)

    def relu_of(conv: str, source: str, out: str) -> list[onnx.NodeProto]:
        return [helper.make_node("Conv", [source, conv], [f"{out}_"], name=out, pads=[0, 0, 0, 0]),
                helper.make_node("Relu", [f"{out}_"], [out])]  # fmt: skip

    nodes = [
        *relu_of("w1", "x", "a"),
        helper.make_node("MaxPool", ["a"], ["b"], name="b", kernel_shape=[2, 2], strides=[2, 2]),
        *relu_of("w2", "b", "c1"), *relu_of("w3", "b", "c2"),
        helper.make_node("Concat", ["c1", "c2"], ["c"], name="c", axis=1),
        *relu_of("w4", "c", "y"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "zeros", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 7, 7])],
        [weights("w1", 16, 3, 3, 3), weights("w2", 12, 16, 1, 1), weights("w3", 20, 16, 1, 1),
         weights("w4", 8, 32, 1, 1)],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_zeros_are_those_of_onnxruntime(runtime: str, tmp_path: Path, require: object) -> None:
    if runtime != "local":
        require(runtime.split()[0].replace("qemu", "qemu-aarch64"))  # type: ignore[operator]
    device, precision = RUNTIMES[runtime]
    model = network()
    onnx.save(model, tmp_path / "m.onnx")
    bundle = es.compile(es.load(tmp_path / "m.onnx"), device, tmp_path / "m.edge", precision=precision)
    x = np.random.default_rng(4).standard_normal((1, 3, 16, 16)).astype(np.float32)
    with open_bundle(bundle, runtime.split()[0]) as session:
        (found,) = profile([session], [{"x": x}], num_runs=1, warmup_runs=0)
    shown = ("a", "b", "c1", "c2", "y")
    model.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in shown if n != "y")
    reference = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = dict(zip(shown, reference.run(list(shown), {"x": x}), strict=True))
    layers = {layer.name: layer for layer in found.layers}
    for name in shown:
        share = layers[name].activation_zeros
        # the sign of what is almost 0 may differ in halves
        assert share == pytest.approx(np.mean(expected[name] == 0), abs=0.02 if precision == "f16" else 1e-9), name
    assert 0.2 < np.mean(expected["a"] == 0) < 0.8


def test_layers_in_turns_leave_no_whole_output(tmp_path: Path, small_cache: None) -> None:  # noqa: F811
    onnx.save(banded(64, 60, 1, 3), tmp_path / "m.onnx")
    bundle = es.compile(es.load(tmp_path / "m.onnx"), "host", tmp_path / "m.edge")
    layers = read_manifest(bundle).layers
    assert sum(len(x.calls) > 1 for x in layers) >= 4, "they take turns"
    assert all((x.held is None) == (len(x.calls) > 1) for x in layers)
    with open_bundle(bundle, "local") as session:
        (found,) = profile([session], [random_inputs(session.manifest)], num_runs=1, warmup_runs=0)
    shares = [x.activation_zeros for x in found.layers]
    assert [x is None for x in shares] == [len(x.calls) > 1 for x in layers if x.calls]
