"""Shapes that onnx has no rule for, or a wrong one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import edgesparse as es
from edgesparse.importer import load
from edgesparse.passes.infer_shapes import infer_shapes
from tests.passes.unfuse import parse
from tests.tiny_models import f32, model, numbers


def test_group_normalization() -> None:
    """And what follows it."""
    text = """(float[2,4,3] x) => (float[N,M,K] y)
              { g = GroupNormalization<num_groups = 2>(x, s, b) r = Relu(g) y = Neg(r) }"""
    found = parse(text, 21, s=numbers(4), b=numbers(4))
    for node in found.graph:
        node.outputs[0].shape = None
    infer_shapes(found)
    assert [node.outputs[0].shape for node in found.graph] == [(2, 4, 3)] * 3


@pytest.mark.parametrize("opset", [11, 17, 22])
@pytest.mark.parametrize("declared", [[1, 2, 4, 3], [1, 2, 3, 3], None])
def test_ceil_mode_whose_last_window_begins_in_the_padding(
    tmp_path: Path, opset: int, declared: list[int] | None
) -> None:
    """Before opset 22, onnx counts that window; neither onnxruntime nor torch do."""
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p"], "pool", kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1),
        helper.make_node("Relu", ["p"], ["y"], "act"),
    ]
    proto = model(nodes, [f32("x", "n", 2, 9, 7)], [f32("y", *(declared or "abcd"))], opset=opset)
    if opset == 22 and declared and declared[2] == 4:
        onnx.save(proto, tmp_path / "m.onnx")
        with pytest.raises(es.InputError, match="do not fit"):
            load(tmp_path / "m.onnx", {"x": (1, 2, 9, 7)})
        return
    onnx.save(proto, tmp_path / "m.onnx")
    x = numbers(1, 2, 9, 7)
    bundle = es.compile(load(tmp_path / "m.onnx"), device="host", out=tmp_path / "m.edge")
    with es.open(bundle) as session:
        found = session.run({"x": x})["y"]
    (expected,) = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"x": x})
    assert found.shape == (1, 2, 3, 3) and np.array_equal(found, expected)
