"""Bad models and options through the command line: a message, the exit code, nothing written."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgesparse as es
from tests.tiny_models import classifier, external, f32, linear, model, numbers

from .refusals import Call, refuses, tree


def _text(path: Path) -> None:
    path.write_text("no model at all")


def _picture(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))


def _half(path: Path) -> None:
    data = classifier().SerializeToString()
    path.write_bytes(data[: len(data) // 2])


def _cycle(path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"], "first"), helper.make_node("Neg", ["a"], ["b"], "second")]
    onnx.save(model(nodes, [f32("x", 1)], [f32("a", 1)]), path)


def _short_weight(path: Path) -> None:
    proto = linear()
    proto.graph.initializer[0].raw_data = bytes(44)
    onnx.save(proto, path)


def _wrong_weight(path: Path) -> None:
    proto = linear()
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(numbers(5, 3), "w"))
    onnx.save(proto, path)


def _saves(proto: onnx.ModelProto) -> Callable[[Path], None]:
    return lambda path: onnx.save(proto, path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "m.onnx: no such file"),
        (Path.mkdir, "m.onnx: is a folder"),
        (os.mkfifo, "m.onnx: is no regular file"),
        (Path.touch, "m.onnx: the file is empty"),
        (_text, "m.onnx: not an ONNX file, or cut short"),
        (_picture, "m.onnx: not an ONNX file, or cut short"),
        (_half, "m.onnx: not an ONNX file, or cut short"),
        (_cycle, "the graph has a cycle"),
        (_short_weight, "weight 'w' has 44 bytes, its shape [4, 3] needs 48"),
        (_wrong_weight, "shapes or types do not fit: (op_type:MatMul, node name: fc)"),
        (_saves(external("w.bin")), "weights are missing: 'w' should be in 'w.bin'"),
        (_saves(external("../w.bin")), "weight 'w' lies outside of the model's folder"),
        (_saves(linear(999)), "opset 999; the installed onnx knows up to"),
    ],
)
def test_a_file_that_is_no_good_model(call: Call, make: Callable[[Path], object], message: str) -> None:
    make(Path("m.onnx"))
    refuses(call, 2, message)
    if Path("m.onnx").is_file():
        assert call("inspect", "m.onnx")[0] == 2
        before = tree(Path())
        assert call("sparsify", "m.onnx", "--pattern", "unstructured", "--sparsity", "0.5", "-o", "s.onnx")[0] == 2
        assert tree(Path()) == before


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (["y=1,4"], "no input named 'y'"),
        (["x=1,2,8"], "shape (1, 2, 8) does not fit input 'x'"),
        (["x=1,3,8,8"], "does not fit input 'x', declared as ('n', '2', '8', '8')"),
        (["x=1,2,8,8", "x=2,2,8,8"], "--shape gives 'x' twice"),
        (["x=1,2,-8,8"], "is not NAME=1,3,224,224"),
        (["x"], "is not NAME=1,3,224,224"),
    ],
)
def test_shapes_that_do_not_fit(call: Call, shapes: list[str], message: str) -> None:
    onnx.save(classifier(), "m.onnx")
    refuses(call, 2, message, arguments=[part for text in shapes for part in ("--shape", text)])


def test_symbolic_dimensions_ask_for_a_shape(call: Call) -> None:
    onnx.save(model([helper.make_node("Relu", ["x"], ["y"])], [f32("x", 1, "h")], [f32("y", 1, "h")]), "m.onnx")
    refuses(call, 2, "input 'x' has symbolic dimensions: ('1', 'h')", "--shape x=1,1")


def test_unknown_device_and_pattern(call: Call) -> None:
    onnx.save(linear(), "m.onnx")
    refuses(call, 2, "unknown device 'rpi55'", "did you mean rpi5", arguments=["--device", "rpi55"])
    code, err = call("sparsify", "m.onnx", "--pattern", "blocks:4x1", "--sparsity", "0.5", "-o", "s.onnx")
    assert code == 2 and "unknown pattern 'blocks:4x1'" in err and "known patterns: unstructured; block:RxC" in err
    assert os.listdir() == ["m.onnx"]


def test_nan_weights_are_a_warning(call: Call, tmp_path: Path) -> None:
    weight = numbers(4, 3)
    weight[1, 2] = np.nan
    proto = linear()
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(proto, "m.onnx")
    code, err = call("compile", "m.onnx", "-o", "m.edge")
    assert code == 0 and err == "warning: weight 'w' holds 1 NaN or infinite value\n"
    with es.open(tmp_path / "m.edge") as session:
        y = session.run({"x": np.ones((1, 4), np.float32)})["y"]
    assert np.isnan(y).tolist() == [[False, False, True]]


def test_huge_dimensions_are_not_allocated(call: Call) -> None:
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, limit[1]))
    try:
        relu = [helper.make_node("Relu", ["x"], ["y"], "act")]
        onnx.save(model(relu, [f32("x", 1, 2**40)], [f32("y", 1, 2**40)]), "m.onnx")
        refuses(call, 3, "tensor 'x' would have 4398046511104 bytes", "Relu 'act'")
        onnx.save(model(relu, [f32("x", *[2**40] * 4)], [f32("y", *[2**40] * 4)]), "m.onnx")
        refuses(call, 3, f"would have {2**162} bytes")
        fill = [helper.make_node("ConstantOfShape", ["s"], ["c"], "fill"), helper.make_node("Add", ["x", "c"], ["y"])]
        onnx.save(model(fill, [f32("x", 1)], [f32("y", 2**40)], {"s": np.array([2**40])}), "m.onnx")
        refuses(call, 3, f"would have {2**42} bytes")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


def test_everything_unsupported_is_listed_at_once(call: Call) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "fine"),
        helper.make_node("Det", ["r"], ["d"], "first"),
        helper.make_node("NonZero", ["x"], ["n"], "second"),
        helper.make_node("Det", ["x"], ["e"], "third"),
    ]
    outputs = [f32("d", 2), f32("e", 2), helper.make_tensor_value_info("n", TensorProto.INT64, [3, "k"])]
    onnx.save(model(nodes, [f32("x", 2, 3, 3)], outputs), "m.onnx")
    err = refuses(call, 3, "3 nodes are not supported")
    for line in (
        "- Det 'first' (2x3x3): operator Det is not supported", "- Det 'third' (2x3x3): operator Det is not supported",
        "- NonZero 'second' (2x3x3): operator NonZero is not supported",
    ):  # fmt: skip
        assert line in err
    assert "'fine'" not in err and err.count("docs/operators.md") == 3


def test_subgraphs_are_unsupported(call: Call) -> None:
    def branch(name: str, op: str) -> onnx.GraphProto:
        return helper.make_graph([helper.make_node(op, ["x"], [name])], name, [], [f32(name, 2)])

    def scalar(name: str, dtype: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, dtype, [])

    branches = {"then_branch": branch("a", "Neg"), "else_branch": branch("b", "Abs")}
    choice = helper.make_node("If", ["c"], ["y"], "choice", **branches)
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["go"]), helper.make_node("Neg", ["v"], ["w"])], "body",
        [scalar("i", TensorProto.INT64), scalar("on", TensorProto.BOOL), f32("v", 2)],
        [scalar("go", TensorProto.BOOL), f32("w", 2)],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["m", "c", "y"], ["z"], "again", body=body)
    inputs = [f32("x", 2), scalar("c", TensorProto.BOOL), scalar("m", TensorProto.INT64)]
    onnx.save(model([choice, loop], inputs, [f32("z", 2)]), "m.onnx")
    refuses(call, 3, "- If 'choice'", "- Loop 'again'", "operator Loop is not supported")


@pytest.mark.parametrize(("dtype", "name"), [(TensorProto.FLOAT16, "FLOAT16"), (TensorProto.DOUBLE, "DOUBLE")])
def test_other_float_types_list_every_node(call: Call, dtype: int, name: str) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"], "first"), helper.make_node("Tanh", ["r"], ["y"], "second")]
    x, y = (helper.make_tensor_value_info(n, dtype, [1, 4]) for n in "xy")
    onnx.save(model(nodes, [x], [y]), "m.onnx")
    refuses(call, 3, "Relu 'first'", "Tanh 'second'", f"is {name}; f32", "export the model in float32")


def test_an_input_that_is_no_tensor(call: Call) -> None:
    x = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, ["k"])
    at = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    nodes = [helper.make_node("SequenceAt", ["x", "i"], ["y"], "pick")]
    y = f32("y", "k")
    onnx.save(model(nodes, [x, at], [y]), "m.onnx")
    refuses(call, 3, "'x' is a sequence, not a tensor", "operator SequenceAt is not supported")


def test_a_graph_without_nodes(call: Call, tmp_path: Path) -> None:
    onnx.save(model([], [f32("x", 2)], [f32("x", 2)]), "m.onnx")
    refuses(call, 3, "output 'x' is also an input of the model")
    onnx.save(model([], [f32("x", 2)], [f32("w", 4)], {"w": numbers(4)}), "m.onnx")
    assert call("compile", "m.onnx", "-o", "m.edge")[0] == 0
    with es.open(tmp_path / "m.edge") as session:
        assert np.array_equal(session.run({"x": np.ones(2, np.float32)})["w"], numbers(4))


def test_a_constant_that_is_an_output_and_is_read(call: Call, tmp_path: Path) -> None:
    nodes = [helper.make_node("Neg", ["w"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])]
    onnx.save(model(nodes, [f32("x", 4)], [f32("c", 4), f32("y", 4)], {"w": numbers(4)}), "m.onnx")
    assert call("compile", "m.onnx", "-o", "m.edge")[0] == 0
    with es.open(tmp_path / "m.edge") as session:
        found = session.run({"x": np.ones(4, np.float32)})
    assert np.array_equal(found["c"], -numbers(4)) and np.allclose(found["y"], 1 - numbers(4))


def test_names_that_would_end_a_comment(call: Call, tmp_path: Path) -> None:
    evil = ['x*/ "\\', "y\n#error", "%s%n??/", "é\t'"]
    nodes = [
        helper.make_node("Relu", [evil[0]], [evil[2]], evil[3]),
        helper.make_node("Neg", [evil[2]], [evil[1]], evil[1]),
    ]
    onnx.save(model(nodes, [f32(evil[0], 2)], [f32(evil[1], 2)]), "m.onnx")
    assert call("compile", "m.onnx", "-o", "*m.edge")[0] == 0
    with es.open(tmp_path / "*m.edge") as session:
        assert session.run({evil[0]: np.array([-1, 2], np.float32)})[evil[1]].tolist() == [0, -2]
