"""Concatenations over channels cost nothing where they can, and are right where they cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

import edgesparse as es
from edgesparse.compile import lowered
from edgesparse.devices import load_device
from edgesparse.types import LoweredGraph

# What is made of x (1, 4, n, n), and how many copies are left. Conv layers take the channels they find.
FIRE = [("Conv", "x", "s"), ("Relu", "s", "q"), ("Conv", "q", "e1"), ("Conv3", "q", "e3"), ("Concat", "e1 e3", "c"),
        ("Conv", "c", "y")]  # fmt: skip
DENSE = [("Conv", "x", "a"), ("Conv3", "a", "b"), ("Concat", "a b", "c"), ("Conv3", "c", "d"), ("Concat", "c d", "e"),
         ("Relu", "e", "f"), ("Conv", "f", "y")]  # fmt: skip
POOLED = [("Conv", "x", "a"), ("Conv", "x", "b"), ("Concat", "a b", "c"), ("MaxPool", "c", "p"), ("Conv", "p", "y")]
TWICE = [("Conv", "x", "a"), ("Conv", "x", "b"), ("Concat", "a b", "c"), ("Concat", "b a", "d"), ("Sum", "c d", "e"),
         ("Conv", "e", "y")]  # fmt: skip
INPUT = [("Conv", "x", "a"), ("Concat", "x a", "c"), ("Conv", "c", "y")]
OUTPUT = [("Conv", "x", "a"), ("Conv", "x", "b"), ("Concat", "a b", "y")]
SELF = [("Conv", "x", "a"), ("Concat", "a a", "c"), ("Conv", "c", "y")]
IN_PLACE = [("Conv", "x", "a"), ("Erf", "a", "b"), ("Sqrt", "b", "r"), ("Sum", "r b", "s"), ("Concat", "b s", "c"),
            ("Erf", "b", "t"), ("Concat", "c t", "y0"), ("Conv", "y0", "y")]  # fmt: skip
NETWORKS = {
    "fire": (FIRE, 0), "dense": (DENSE, 0), "pooled": (POOLED, 0), "twice": (TWICE, 2), "input": (INPUT, 1),
    "output": (OUTPUT, 2), "self": (SELF, 1), "in place": (IN_PLACE, 0),
}  # fmt: skip


def network(path: Path, lines: list[tuple[str, str, str]], size: int, channels: int = 4) -> None:
    random = np.random.default_rng(size)
    width, nodes = {"x": 4}, []
    weights: list[tuple[str, Any]] = []
    for op, names, out in lines:
        inputs = names.split()
        attrs: dict[str, Any] = {}
        width[out] = sum(width[n] for n in inputs) if op == "Concat" else width[inputs[0]]
        if op.startswith("Conv"):
            kernel = 3 if op == "Conv3" else 1
            width[out], op = channels, "Conv"
            attrs = {"pads": [kernel // 2] * 4}
            weights.append((f"w{out}", random.standard_normal((channels, width[inputs[0]], kernel, kernel))))
            inputs.append(weights[-1][0])
        elif op == "Concat":
            attrs = {"axis": 1}
        elif op == "MaxPool":
            attrs = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
        nodes.append(helper.make_node(op, inputs, [out], **attrs))
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4, size, size])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, width["y"], size, size])],
        [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def graph_of(path: Path) -> LoweredGraph:
    return lowered(es.load(path), load_device("host").target)[0]


def check(path: Path, folder: Path) -> None:
    x = np.abs(np.random.default_rng(0).standard_normal(onnx_input(path))).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    with es.open(es.compile(es.load(path), device="host", out=folder / "m.edge", force=True)) as session:
        np.testing.assert_allclose(session.run({"x": x})["y"], expected, rtol=1e-4, atol=1e-4, equal_nan=True)


def onnx_input(path: Path) -> list[int]:
    return [d.dim_value for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]


@pytest.mark.parametrize("name", NETWORKS)
def test_copies_that_are_left(tmp_path: Path, name: str) -> None:
    lines, left = NETWORKS[name]
    network(tmp_path / "m.onnx", lines, 7)
    assert [call.op for call in graph_of(tmp_path / "m.onnx").calls].count("copy") == left
    check(tmp_path / "m.onnx", tmp_path)


@pytest.mark.parametrize("size", [3, 8, 13])
def test_a_part_is_laid_out_as_the_whole(tmp_path: Path, size: int) -> None:
    network(tmp_path / "m.onnx", DENSE, size)
    graph = graph_of(tmp_path / "m.onnx")
    for call in graph.calls:
        if call.op == "part":
            part, whole = (graph.tensors[n] for n in (*call.inputs, *call.outputs))
            assert part.pitch == whole.pitch and call.attrs["plane"] == (part.pitch or size * size)
    check(tmp_path / "m.onnx", tmp_path)


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[str, str, str]]:
    """Networks in which any two earlier results of a channel count may be concatenated, most of them read again."""
    lines, made = [("Conv", "x", "t0")], ["x", "t0"]
    for i in range(1, draw(st.integers(2, 7))):
        op = draw(st.sampled_from(("Conv", "Conv3", "Relu", "Erf", "Concat", "Concat", "MaxPool")))
        names = [draw(st.sampled_from(made[-4:])) for _ in range(2 if op == "Concat" else 1)]
        lines.append((op, " ".join(names), f"t{i}"))
        made.append(f"t{i}")
    return [*lines, ("Concat", f"{made[-1]} {made[-2]}", "z"), ("Conv", "z", "y")]


@settings(max_examples=25, derandomize=True, deadline=None)
@given(lines=programs(), size=st.sampled_from((5, 7, 8)))
def test_any_network(lines: list[tuple[str, str, str]], size: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    network(folder / "m.onnx", lines, size)
    check(folder / "m.onnx", folder)
