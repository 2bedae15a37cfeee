"""What `inspect` and `sparsify` print of a model and its layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import edgesparse as es
from edgesparse.compile import lowered
from edgesparse.devices import load_device
from tests.tiny_models import f32, model, numbers

from .conftest import Call


def _sparse_model(path: Path, batch: int | str = "n") -> Path:
    """Conv, depthwise Conv, Conv, Flatten, Gemm; x (batch, 4, 6, 6), y (batch, 3)."""

    def conv(name: str, x: str, y: str, group: int = 1) -> onnx.NodeProto:
        return helper.make_node("Conv", [x, f"{name}.w"], [y], name, group=group)

    nodes = [
        conv("first", "x", "a"), conv("depthwise", "a", "b", group=8), conv("middle", "b", "c"),
        helper.make_node("Flatten", ["c"], ["f"], "flat"), helper.make_node("Gemm", ["f", "fc.w"], ["y"], "fc"),
    ]  # fmt: skip
    weights = {
        "first.w": numbers(8, 4, 1, 1), "depthwise.w": numbers(8, 1, 1, 1), "middle.w": numbers(8, 8, 1, 1),
        "fc.w": numbers(288, 3),
    }  # fmt: skip
    onnx.save(model(nodes, [f32("x", batch, 4, 6, 6)], [f32("y", batch, 3)], weights), path)
    return path


def test_sparsify_tells_what_it_did_to_each_layer(call: Call) -> None:
    _sparse_model(Path("m.onnx"))
    command = ("sparsify", "m.onnx", "--pattern", "block:4x1", "--sparsity", "0.5", "-o", "s.onnx", "--force")
    code, out, _ = call(*command)
    words = " ".join(out.split())
    assert code == 0 and "first 8x4x1x1 dense the first convolution" in words
    assert "is depthwise: every output reads few inputs already" in words and "the classifier" in words
    assert "middle 8x8x1x1 block:4x1 50.0" in words and "50.0% zeros in the 1 pruned weights, 3 left dense" in words
    _, out, _ = call(*command, "--json")
    document = json.loads(out)
    assert (document["pattern"], document["zeros"]) == ("block:4x1", 0.5)
    middle = document["layers"][2]
    kept = middle.pop("kept_magnitude")
    w = np.abs(numbers(8, 8, 1, 1))
    assert kept == pytest.approx(np.abs(_weight("s.onnx", "middle.w")).sum() / w.sum(), rel=1e-6)
    assert 0.5 < kept < 1
    expected = {
        "name": "middle", "op": "Conv", "shape": [8, 8, 1, 1], "zeros": 0.5, "macs": 36 * 64, "weight": "middle.w",
        "pattern": "block:4x1", "zeros_before": 0, "why_dense": "", "method": "magnitude", "error": None,
    }  # fmt: skip
    assert {key: middle[key] for key in expected} == expected
    assert [x["macs"] for x in document["layers"]] == [36 * 32, 36 * 8, 36 * 64, 288 * 3], "of one sample"
    assert [bool(x["why_dense"]) for x in document["layers"]] == [True, True, False, True]


def test_sparsify_includes_what_stays_dense_by_default(call: Call) -> None:
    _sparse_model(Path("m.onnx"))
    command = ("sparsify", "m.onnx", "--pattern", "unstructured", "--sparsity", "0.5", "--json", "--force")
    _, out, _ = call(*command, "-o", "s.onnx", "--include", "first", "--include", "f?", "--keep", "middle")
    assert [x["zeros"] for x in json.loads(out)["layers"]] == [0.5, 0, 0, 0.5]
    code, _, err = call(*command, "-o", "s.onnx", "--include", "depthwise")
    assert code == 2 and "cannot prune 'depthwise.w'" in err


@pytest.mark.parametrize("sparsity", ["1", "-0.1", "2", "nan"])
def test_sparsity_is_less_than_1(call: Call, sparsity: str) -> None:
    _sparse_model(Path("m.onnx"))
    code, _, err = call("sparsify", "m.onnx", "--pattern", "unstructured", "--sparsity", sparsity, "-o", "s.onnx")
    assert code == 2 and "is outside of [0, 1)" in err and not Path("s.onnx").exists()


def _weight(path: str, name: str) -> Any:
    return next(onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer if t.name == name)


def test_inspect_shows_what_was_recorded(call: Call) -> None:
    _sparse_model(Path("m.onnx"))
    call("sparsify", "m.onnx", "--pattern", "block:4x1", "--sparsity", "0.5", "-o", "s.onnx")
    _, out, _ = call("inspect", "s.onnx")
    assert "middle block:4x1 0.5 0.5" in " ".join(out.split()) and "{" not in out
    _, out, _ = call("inspect", "s.onnx", "--json")
    assert json.loads(out)["sparsity"] == {"middle": {"pattern": "block:4x1", "sparsity": 0.5, "zeros": 0.5}}
    proto = onnx.load("s.onnx")
    proto.metadata_props[0].value = "no JSON"
    onnx.save(proto, "s.onnx")
    code, out, _ = call("inspect", "s.onnx")
    assert code == 0 and "no JSON" in out


def test_layout_changes_are_those_that_are_compiled(call: Call) -> None:
    def found(nodes: list[onnx.NodeProto], x: tuple[int | str, ...], y: tuple[int | str, ...]) -> list[str]:
        weights = {"w": numbers(4, 8)} if any("w" in n.input for n in nodes) else {}
        onnx.save(model(nodes, [f32("x", *x)], [f32("y", *y)], weights), "m.onnx")
        names = [change["name"] for change in json.loads(call("inspect", "m.onnx", "--json")[1])["layout_changes"]]
        graph, _ = lowered(es.load("m.onnx"), load_device("rpi5").target)
        assert [call.layer for call in graph.calls if call.op == "copy"] == names, "the only operator here that copies"
        return names

    def transpose(source: str, out: str, *perm: int) -> onnx.NodeProto:
        return helper.make_node("Transpose", [source], [out], f"to {out}", perm=perm)

    matmul = [
        transpose("x", "t", 0, 2, 1), helper.make_node("MatMul", ["t", "w"], ["m"], "mm"), transpose("m", "y", 0, 2, 1)
    ]  # fmt: skip
    assert found(matmul, ("n", 4, 9), ("n", 8, 9)) == [], "optimising makes it a convolution"
    assert found([transpose("x", "y", 0, 2, 1)], ("n", 4, 9), ("n", 9, 4)) == ["to y"]
    assert found([transpose("x", "y", 2, 1, 0)], ("n", 1, 9), (9, 1, "n")) == [], "no data moves in one sample"


def test_inspect_shows_what_it_can_without_shapes(call: Call) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"), helper.make_node("Det", ["c"], ["d"], "det"),
        helper.make_node("Relu", ["c"], ["y"], "relu"),
    ]  # fmt: skip
    x, y = f32("x", "n", 3, "h", "w"), f32("y", "n", 4, "h", "w")
    onnx.save(model(nodes, [x], [y, f32("d", "n", 4)], {"w": numbers(4, 3, 1, 1)}), "m.onnx")
    code, out, err = call("inspect", "m.onnx")
    words = " ".join(out.split())
    assert (code, err) == (0, "") and "input x nx3xhxw float" in words and "MACs unknown" in words
    assert "conv Conv 4x3x1x1" in words and "Det 'det' operator Det is not supported" in words
    assert "all that is unsupported: --shape x=1,3,1,1 (or other numbers)" in words and "Every operator" not in out
    document = json.loads(call("inspect", "m.onnx", "--json")[1])
    assert document["shapes_needed"] == ["x=1,3,1,1"] and document["layout_changes"] == []
    code, out, _ = call("inspect", "m.onnx", "--shape", "x=1,3,5,5")
    assert code == 0 and "300" in out and "unknown" not in out
