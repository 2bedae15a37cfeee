"""Which convolutions read their input as it is, in any order of its dimensions; and that outputs are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import edgesparse as es
from edgesparse.compile import lowered
from edgesparse.devices import load_device
from edgesparse.types import LoweredGraph
from tests.tiny_models import f32, model, numbers


def network(
    path: Path, size: tuple[int, int] = (31, 100), channels: int = 3, outputs: int = 16, perm: tuple[int, ...] = (),
    *, stride: int = 2, group: int = 1, dilation: int = 1, zeros: float = 0.0, images: int = 1, twice: bool = False,
) -> Path:  # fmt: skip
    """A 3x3 convolution of (images, channels, *size), which comes transposed by ``perm`` where that is given."""
    random = np.random.default_rng(0)
    w = random.standard_normal((outputs, channels // group, 3, 3)).astype(np.float32)
    w[random.random(w.shape) < zeros] = 0
    shape = (images, channels, *size)
    attrs: dict[str, Any] = {"strides": [stride] * 2, "pads": [1, 0, 1, 2], "group": group, "dilations": [dilation] * 2}
    nodes = [helper.make_node("Conv", ["t" if perm else "x", "w", "b"], ["y"], "conv", **attrs)]
    given = [0] * 4
    if perm:
        nodes.insert(0, helper.make_node("Transpose", ["x"], ["t"], "turn", perm=perm))
        for to, axis in enumerate(perm):
            given[axis] = shape[to]
    results = [f32("y", images, outputs, "h", "w")]
    if twice:
        nodes.append(helper.make_node("Neg", ["t"], ["z"], "neg"))
        results.append(f32("z", *shape))
    inputs = [f32("x", *(given if perm else shape))]
    onnx.save(model(nodes, inputs, results, {"w": w, "b": numbers(outputs)}), path)
    return path


def graph_of(path: Path, device: str = "host") -> LoweredGraph:
    return lowered(es.load(path), load_device(device).target)[0]


def ops(path: Path, device: str = "host") -> list[str]:
    return [call.op for call in graph_of(path, device).calls]


def check(path: Path, folder: Path) -> None:
    shape = [d.dim_value for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
    x = numbers(*shape, seed=1)
    expected = onnxruntime.InferenceSession(path).run(None, {"x": x})
    with es.open(es.compile(es.load(path), device="host", out=folder / "m.edge", force=True)) as session:
        found = session.run({"x": x})
    for name, want in zip(("y", "z"), expected, strict=False):
        np.testing.assert_allclose(found[name], want, rtol=1e-4, atol=1e-4)


def test_entry(tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx")
    assert ops(path) == ["entry"]
    assert ops(path, "rpi5") == ["planes", "spmm"]  # strided, long rows
    assert ops(network(tmp_path / "s.onnx", (9, 9)), "rpi5") == ["entry"]
    check(path, tmp_path)


@pytest.mark.parametrize(
    "not_one", [
        {"channels": 5}, {"outputs": 8}, {"stride": 1}, {"channels": 4, "group": 2}, {"dilation": 2}, {"zeros": 0.7},
    ],
)  # fmt: skip
def test_others(not_one: dict[str, int | float], tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx", **not_one)  # type: ignore[arg-type]
    assert ops(path) == ["planes", "spmm"]


@pytest.mark.parametrize(
    "perm, images, channels",
    [
        ((0, 3, 1, 2), 1, 3), ((0, 3, 1, 2), 1, 1), ((0, 3, 1, 2), 2, 3), ((0, 3, 2, 1), 1, 3), ((0, 2, 1, 3), 1, 3),
        ((1, 2, 0, 3), 2, 3),
    ],
)  # fmt: skip
def test_transposed(perm: tuple[int, ...], images: int, channels: int, tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx", perm=perm, images=images, channels=channels)
    assert [op for op in ops(path) if op != "view"] == ["entry"]
    check(path, tmp_path)


@pytest.mark.parametrize("perm", [(0, 3, 1, 2), (0, 2, 1, 3)])
def test_two_readers(perm: tuple[int, ...], tmp_path: Path) -> None:
    """What somebody else reads, too, is still made."""
    path = network(tmp_path / "m.onnx", perm=perm, twice=True)
    graph = graph_of(path)
    assert sorted(call.op for call in graph.calls) in (["copy", "entry", "unary"], ["copy", "entry", "scale_shift"])
    check(path, tmp_path)


def test_pitch(tmp_path: Path) -> None:
    """Planes of 31x31 lie 968 floats apart."""
    path = network(tmp_path / "m.onnx", (61, 61), outputs=48, stride=2)
    proto = onnx.load(path)
    proto.graph.node[0].output[0] = "c"
    proto.graph.node.append(helper.make_node("Relu", ["c"], ["r"], "relu"))
    proto.graph.node.append(helper.make_node("MaxPool", ["r"], ["y"], "pool", kernel_shape=[3, 3], strides=[2, 2]))
    onnx.save(proto, path)
    assert next(spec.pitch for spec in graph_of(path).tensors.values() if spec.pitch) > 0
    x = numbers(1, 3, 61, 61, seed=1)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    with es.open(es.compile(es.load(path), device="host", out=tmp_path / "m.edge")) as session:
        np.testing.assert_allclose(session.run({"x": x})["y"], expected, rtol=1e-4, atol=1e-4)
