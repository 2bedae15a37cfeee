"""What the passes attach to layers, compiled and run, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import edgesparse as es
from edgesparse.types import Array
from tests.ops.many import floats
from tests.tiny_models import f32, model

Nodes = list[onnx.NodeProto]


def check(folder: Path, nodes: Nodes, feed: dict[str, Array], weights: dict[str, Array]) -> None:
    """The output ``y`` is that of onnxruntime."""
    proto = model(nodes, [f32(k, *v.shape) for k, v in feed.items()], [], weights)
    proto.graph.output.append(helper.make_empty_tensor_value_info("y"))
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(proto, folder / "m.onnx")
    (expected,) = onnxruntime.InferenceSession(folder / "m.onnx").run(["y"], feed)
    bundle = es.compile(es.load(folder / "m.onnx"), device="host", out=folder / "m.edge")
    with es.open(bundle) as session:
        found = session.run(feed)["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def node(op: str, *inputs: str, out: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [out], f"{op}_{out}", **attributes)  # type: ignore[arg-type]


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_slopes_of_a_fully_connected_layer(tmp_path: Path, op: str) -> None:
    weights = {"w": floats(9, 6), "s": floats(6, seed=1), "b": floats(6, seed=2)}
    inputs = ("x", "w", "b") if op == "Gemm" else ("x", "w")
    nodes = [node(op, *inputs, out="h"), node("PRelu", "h", "s")]
    check(tmp_path, nodes, {"x": floats(5, 9)}, weights if op == "Gemm" else {k: weights[k] for k in "ws"})


@pytest.mark.parametrize("act", ["Relu", "Tanh", "HardSwish"])
def test_products_of_two_activations(tmp_path: Path, act: str) -> None:
    nodes = [node("MatMul", "x", "z", out="h"), node(act, "h")]
    check(tmp_path, nodes, {"x": floats(2, 5, 9), "z": floats(2, 9, 7, seed=1)}, {})


def test_a_gemm_with_transposed_rows(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x", "w", "b", out="h", transA=1), node("LeakyRelu", "h", alpha=0.3)]
    check(tmp_path, nodes, {"x": floats(9, 5)}, {"w": floats(9, 6), "b": floats(5, 1)})


def test_beta_0_with_a_bias_of_nan(tmp_path: Path) -> None:
    """BLAS: what is multiplied by 0 is not read."""
    weights = {"w": floats(9, 6), "b": np.full(6, np.nan, np.float32)}
    check(tmp_path, [node("Gemm", "x", "w", "b", beta=0.0)], {"x": floats(5, 9)}, weights)


def test_relu6_as_min_and_max(tmp_path: Path) -> None:
    weights = {"w": floats(4, 3, 3, 3), "zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
    nodes = [node("Conv", "x", "w", out="h"), node("Max", "h", "zero", out="m"), node("Min", "m", "six")]
    check(tmp_path, nodes, {"x": floats(1, 3, 8, 9, scale=3)}, weights)
