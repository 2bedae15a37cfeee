"""Cycles, missing values and nodes out of order are named."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgesparse.connected import check_connected
from edgesparse.errors import InputError
from tests.tiny_models import f32, linear, model

PATH = Path("m.onnx")


def _refused(proto: onnx.ModelProto) -> InputError:
    with pytest.raises(InputError) as caught:
        check_connected(proto, PATH)
    assert caught.value.where == "m.onnx"
    return caught.value


def test_a_cycle_is_named() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["start"], "start"),
        helper.make_node("Add", ["start", "c"], ["b"], "first"),
        helper.make_node("Neg", ["b"], ["c"], "second"),
        helper.make_node("Neg", ["c"], ["y"], "after"),
    ]
    error = _refused(model(nodes, [f32("x", 1)], [f32("y", 1)]))
    assert error.what in (
        "the graph has a cycle: first -> second -> first", "the graph has a cycle: second -> first -> second"
    )  # fmt: skip


def test_nodes_out_of_order() -> None:
    proto = linear()
    nodes = list(reversed(proto.graph.node))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    error = _refused(proto)
    assert error.what.startswith("Relu 'act' reads 'xw', which MatMul 'fc' makes only after it")
    assert "topologically sorted" in error.what


def test_a_missing_weight() -> None:
    proto = linear()
    del proto.graph.initializer[:]
    error = _refused(proto)
    assert error.what.startswith("'w', which MatMul 'fc' reads, is missing") and "with its weights" in error.hint


def test_a_missing_weight_of_a_subgraph() -> None:
    """Inner graphs see the values before their node; not those after it."""
    scalar = helper.make_tensor_value_info("c", TensorProto.BOOL, [])

    def choice(name: str) -> onnx.ModelProto:
        inner = helper.make_graph([helper.make_node("Neg", [name], ["z"], "inner")], "b", [], [f32("z", 2)])
        nodes = [
            helper.make_node("Relu", ["x"], ["before"]),
            helper.make_node("If", ["c"], ["y"], "choice", then_branch=inner, else_branch=inner),
            helper.make_node("Relu", ["y"], ["after"]),
        ]
        return model(nodes, [f32("x", 2), scalar], [f32("after", 2)])

    check_connected(choice("before"), PATH)
    assert "'after', which Neg 'inner' reads, is missing" in _refused(choice("after")).what


def test_an_output_that_nobody_makes() -> None:
    proto = linear()
    proto.graph.output.append(f32("z", 3))
    assert _refused(proto).what == "no node makes the output 'z'"
