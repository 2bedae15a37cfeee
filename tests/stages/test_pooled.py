"""Which averages are computed with the planes that they are of; and that outputs are right."""

from __future__ import annotations

from collections.abc import Sequence
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
from edgesparse.runtimes.arrays import check_inputs
from edgesparse.runtimes.local import LocalSession
from edgesparse.samples import random_inputs
from edgesparse.types import LoweredGraph
from tests.end_to_end.test_threads import Parts
from tests.tiny_models import f32, model, numbers

GLOBAL: dict[str, Any] = {"op": "GlobalAveragePool"}
MEAN: dict[str, Any] = {"op": "ReduceMean", "axes": [2, 3]}


def network(
    path: Path, size: tuple[int, int] = (7, 7), *, op: str, images: int = 1, outputs: int = 37, kernel: int = 1,
    residual: bool = False, again: str = "", results: Sequence[str] = ("y",), inputs: int = 6, **attrs: Any,
) -> Path:  # fmt: skip
    """relu(conv(x)), or relu(conv(x) + r); an average ``op`` of it; the node ``again``, which reads the planes, too."""
    random = np.random.default_rng(0)
    w = random.standard_normal((outputs, inputs, kernel, kernel)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[kernel // 2] * 4),
        *([helper.make_node("Add", ["c", "r"], ["s"], "add")] if residual else []),
        helper.make_node("Relu", ["s" if residual else "c"], ["p"], "relu"),
        helper.make_node(op, ["p"], ["m"], "pool", **attrs),
        helper.make_node("Neg", ["m"], ["y"], "neg"),
        *([helper.make_node(again, ["p"], ["z"], "again")] if again else []),
    ]
    given = [f32("x", images, inputs, *size)]
    if residual:
        given.append(f32("r", images, outputs, *size))
    found = [helper.make_empty_tensor_value_info(name) for name in results]
    proto = onnx.shape_inference.infer_shapes(model(nodes, given, found, {"w": w, "b": numbers(outputs)}))
    onnx.checker.check_model(proto)
    onnx.save(proto, path)
    return path


def graph_of(path: Path, device: str = "host", precision: str = "f32") -> LoweredGraph:
    return lowered(es.load(path), load_device(device).target_in(precision))[0]


def averaged(path: Path, device: str = "host", precision: str = "f32") -> bool:
    """Whether the convolution writes means, and no other call averages."""
    calls = graph_of(path, device, precision).calls
    means = [bool(call.attrs["mean"]) for call in calls if call.op == "spmm"]
    others = [call.op for call in calls if call.op in ("reduce", "pool_avg", "pool_max")]
    assert len(means) == 1 and means[0] == (not others)
    return means[0]


def check(path: Path, folder: Path) -> None:
    inputs = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in onnx.load(path).graph.input}
    values = {name: numbers(*shape, seed=1) for name, shape in inputs.items()}
    session = onnxruntime.InferenceSession(path)
    expected = session.run(None, values)
    with es.open(es.compile(es.load(path), device="host", out=folder / "m.edge", force=True)) as compiled:
        found = compiled.run(values)
    for output, want in zip(session.get_outputs(), expected, strict=True):
        np.testing.assert_allclose(found[output.name], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        GLOBAL, MEAN, {**MEAN, "keepdims": 0}, {"op": "ReduceMean", "axes": [-1, -2]},
        {"op": "AveragePool", "kernel_shape": [7, 7]}, {**GLOBAL, "images": 3}, {**GLOBAL, "size": (5, 9)},
        {**MEAN, "residual": True, "images": 2}, {**GLOBAL, "outputs": 65, "kernel": 3}, {**MEAN, "outputs": 1},
    ],
)  # fmt: skip
def test_averaged(options: dict[str, Any], tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx", **options)
    assert averaged(path)
    check(path, tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {**GLOBAL, "again": "Neg", "results": ("y", "z")}, {**GLOBAL, "again": "GlobalMaxPool", "results": ("y", "z")},
        {**GLOBAL, "results": ("y", "p")}, {"op": "GlobalMaxPool"}, {"op": "ReduceMax", "axes": [2, 3]},
        {"op": "ReduceSum"}, {"op": "ReduceL1", "axes": [2, 3]}, {"op": "ReduceMean", "axes": [3]},
        {"op": "ReduceMean", "axes": [2]}, {"op": "ReduceMean", "axes": [1]}, {"op": "ReduceMean", "axes": [1, 2, 3]},
        {"op": "ReduceMean", "axes": [0, 2, 3], "images": 2}, {"op": "AveragePool", "kernel_shape": [7, 6]},
        {"op": "AveragePool", "kernel_shape": [7, 7], "pads": [0, 0, 1, 1], "count_include_pad": 1},
        {"op": "AveragePool", "kernel_shape": [3, 3], "strides": [2, 2]},
    ],
)  # fmt: skip
def test_others(options: dict[str, Any], tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx", **options)
    graph = graph_of(path)
    assert not any(call.attrs.get("mean", 0) for call in graph.calls)
    check(path, tmp_path)


def test_faster_kernels_stay(tmp_path: Path) -> None:
    """Winograd, and what computes planes of one pixel, know nothing of means: they are kept where they are faster."""
    wide: dict[str, Any] = {"outputs": 64, "inputs": 64, "kernel": 3, "size": (14, 14)}
    assert not averaged(network(tmp_path / "m.onnx", **GLOBAL, **wide), "rpi5")
    assert averaged(network(tmp_path / "m.onnx", **GLOBAL, **{**wide, "kernel": 1}), "rpi5")
    path = network(tmp_path / "m.onnx", (1, 1), **GLOBAL)
    assert not any(call.attrs.get("mean", 0) for call in graph_of(path).calls)


def test_halves(tmp_path: Path) -> None:
    assert averaged(network(tmp_path / "m.onnx", **GLOBAL), "rpi5", "f16")


def test_any_number_of_parts_in_any_order(tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx", **MEAN, residual=True, images=2, outputs=70)
    with es.open(es.compile(es.load(path), device="host", out=tmp_path / "m.edge"), runtime="local") as session:
        assert isinstance(session, LocalSession)
        inputs = random_inputs(session.manifest)
        expected = session.run(inputs)["y"]
        parts = Parts(session, check_inputs(session.manifest, inputs, each=False)[0], most=20)
        for count in (1, 2, 3, 7, 20):
            for order in (lambda n: list(range(n)), lambda n: list(range(n))[::-1]):
                parts.run(count, order)
                assert parts.outputs[0].tobytes() == expected.tobytes(), f"in {count} parts"


def test_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kernel that may write means is measured, and the fastest is taken."""
    monkeypatch.setenv("EDGESPARSE_TUNED", str(tmp_path / "tuned"))
    loaded = es.load(network(tmp_path / "m.onnx", **GLOBAL))
    (layer,) = (layer for layer in es.tune(loaded, num_runs=3, warmup_runs=1).layers if layer.op == "spmm")
    assert len(layer.us) > 1
    with es.open(es.compile(loaded, device="host", out=tmp_path / "m.edge")) as session:
        (found,) = (layer for layer in session.manifest.layers if layer.op == "spmm")
        assert found.measured and "'pool'" in found.reason


def test_what_is_said_of_it(tmp_path: Path) -> None:
    bundle = es.compile(es.load(network(tmp_path / "m.onnx", **GLOBAL)), device="host", out=tmp_path / "m.edge")
    with es.open(bundle) as session:
        (layer,) = (layer for layer in session.manifest.layers if layer.op == "spmm")
    assert layer.shape == (1, 37, 1, 1) and layer.macs > 0
    assert "'pool'" in layer.reason and "averages" in layer.reason


def test_the_planes_are_nowhere(tmp_path: Path) -> None:
    """The arena need not hold them."""
    path = network(tmp_path / "m.onnx", (13, 13), outputs=1000, **GLOBAL)
    with es.open(es.compile(es.load(path), device="host", out=tmp_path / "m.edge")) as session:
        assert session.manifest.arena_bytes < 1000 * 13 * 13 * 4 // 10
