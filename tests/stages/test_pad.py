"""Which planes are padded, by how much, and that nobody is left who does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

import edgesparse as es
from edgesparse.importer import bind_default_shapes
from edgesparse.lower import lower
from edgesparse.pad import pad_planes
from edgesparse.passes.pipeline import optimise, simplify
from edgesparse.types import Array, LoweredGraph, Target

WIDE = Target("t", "shared", "x86_64-linux-gnu", ("avx512", "avx2", "sse2"))
NARROW = Target("t", "executable", "aarch64-linux-musl", ("neon",))


def network(path: Path, size: int, *, middle: str = "") -> onnx.ModelProto:
    """1x1 -> depthwise 3x3 (-> ``middle``) -> 1x1 plus a residual -> mean, on planes of size x size."""
    random = np.random.default_rng(size)
    weights = {"a": (6, 3, 1, 1), "d": (6, 1, 3, 3), "b": (6, 6, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["first"]),
        helper.make_node("Conv", ["first", "d"], ["depth"], pads=[1, 1, 1, 1], group=6),
        helper.make_node(middle or "Identity", ["depth"], ["mid"]),
        helper.make_node("Conv", ["mid", "b"], ["second"]),
        helper.make_node("Add", ["second", "first"], ["sum"]),
        helper.make_node("GlobalAveragePool", ["sum"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 6, 1, 1])],
        [numpy_helper.from_array(random.standard_normal(s).astype(np.float32), n) for n, s in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return model


def lowered(path: Path) -> LoweredGraph:
    model = es.load(path)
    bind_default_shapes(model)
    simplify(model)
    optimise(model)
    return lower(model)


def pitches(graph: LoweredGraph) -> dict[str, int]:
    return {name: spec.pitch for name, spec in graph.tensors.items() if spec.pitch}


@pytest.mark.parametrize(
    ("size", "target", "pitch"), [(7, WIDE, 64), (14, WIDE, 208), (7, NARROW, 52), (14, NARROW, 0), (5, WIDE, 0)]
)
def test_planes_become_whole_vectors(tmp_path: Path, size: int, target: Target, pitch: int) -> None:
    """14x14 is whole for vectors of four; 5x5 is too small for padding to pay."""
    network(tmp_path / "m.onnx", size)
    found = pitches(pad_planes(lowered(tmp_path / "m.onnx"), target))
    assert set(found.values()) == ({pitch} if pitch else set())
    if pitch:
        assert set(found) >= {"first", "depth"} and not {"x", "y"} & set(found)


def test_a_reader_that_needs_whole_planes_keeps_them(tmp_path: Path) -> None:
    """Softmax over the last axis knows no pitch: its input and its output stay as they are."""
    network(tmp_path / "m.onnx", 7, middle="Softmax")
    found = pitches(pad_planes(lowered(tmp_path / "m.onnx"), WIDE))
    assert "first" in found and not {"depth", "mid"} & set(found)


@settings(max_examples=12, derandomize=True, deadline=None)
@given(size=st.integers(6, 15), middle=st.sampled_from(["", "Relu", "Softmax", "Sigmoid"]))
def test_outputs_are_those_of_onnxruntime(
    tmp_path_factory: pytest.TempPathFactory, size: int, middle: str
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("pad")
    model = network(folder / "m.onnx", size, middle=middle)
    x: Array = np.random.default_rng(1).standard_normal((1, 3, size, size)).astype(np.float32)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    with es.open(es.compile(es.load(folder / "m.onnx"), device="host", out=folder / "m.edge")) as session:
        given_ = session.run({"x": x})["y"]
    assert float(np.abs(given_ - expected).max()) < 1e-5 * float(np.abs(expected).max())
