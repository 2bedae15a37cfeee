"""Everything that cannot be compiled is reported at once: operators, types, outputs, run-time parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgesparse as es
from edgesparse.devices import load_device
from edgesparse.inspect import inspect
from edgesparse.kernels import table
from edgesparse.lower import unsupported
from edgesparse.ops import OPERATORS
from edgesparse.types import Array
from tests.tiny_models import f32, model, numbers


def _refusals(folder: Path, proto: onnx.ModelProto) -> list[str]:
    """What compile lists, which is what inspect lists."""
    onnx.save(proto, folder / "m.onnx")
    with pytest.raises(es.UnsupportedError) as caught:
        es.compile(es.load(folder / "m.onnx"), device="host", out=folder / "m.edge")
    assert caught.value.exit_code == 3
    found = [str(problem) for problem in caught.value.problems]
    assert [str(problem) for problem in inspect(es.load(folder / "m.onnx")).unsupported] == found
    return found


def _port(name: str, dtype: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, list(shape))


def test_operators_types_and_outputs_together(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["u", "u"], ["uu"], "bytes"),
        helper.make_node("FooBar", ["x"], ["f"], "unknown"),
        helper.make_node("Relu", ["f"], ["r"], "follows"),  # not a problem of its own
        helper.make_node("TopK", ["x", "k"], ["v", "i"], "top"),
        helper.make_node("Relu", ["x"], ["y"], "fine"),
    ]
    proto = model(
        nodes, [f32("x", 2, 3), _port("u", TensorProto.UINT8, 3)],
        [f32("y", 2, 3), f32("r", 2, 3), _port("uu", TensorProto.UINT8, 3), f32("v", 2, 1), f32("x", 2, 3)],
        {"k": np.array([1])},
    )  # fmt: skip
    found = _refusals(tmp_path, proto)
    assert [text.split(":")[0] for text in found] == [
        "Add 'bytes' (3 3)", "FooBar 'unknown' (2x3)", "TopK 'top' (2x3 1)", "outputs"
    ]  # fmt: skip
    assert "Add of u8; f32, i64 and i32 are supported" in found[0] and "Cast to int32" in found[0]
    assert "operator FooBar is not supported" in found[1]
    assert "output 'x' is also an input of the model" in found[3]


def test_an_unknown_operator_beside_external_weights(tmp_path: Path) -> None:
    nodes = [helper.make_node("FooBar", ["x"], ["h"], "odd"), helper.make_node("MatMul", ["h", "w"], ["y"], "fc")]
    proto = model(nodes, [f32("x", 2, 30)], [f32("y", 2, 40)], {"w": numbers(30, 40)})
    onnx.external_data_helper.convert_model_to_external_data(proto, location="w.bin", size_threshold=0)
    onnx.save(proto, tmp_path / "m.onnx")
    (found,) = unsupported(es.load(tmp_path / "m.onnx"))
    assert found.what == "operator FooBar is not supported"


@pytest.mark.parametrize("device", ["host", "rpi5", "browser"])
def test_the_same_for_every_target(tmp_path: Path, device: str) -> None:
    nodes = [helper.make_node("Abs", ["u"], ["h"], "bytes"), helper.make_node("IsNaN", ["x"], ["y"], "fine")]
    ports = [_port("u", TensorProto.UINT8, 3), f32("x", 3)]
    ports += [_port("h", TensorProto.UINT8, 3), _port("y", TensorProto.BOOL, 3)]
    onnx.save(model(nodes, ports[:2], ports[2:]), tmp_path / "m.onnx")
    (found,) = unsupported(es.load(tmp_path / "m.onnx"), load_device(device).target)
    assert str(found) == str(unsupported(es.load(tmp_path / "m.onnx"))[0])
    assert found.what == "Abs of u8; f32, i64 and i32 are supported" and "Cast to int32" in found.hint


# operator, its inputs behind x, attributes, the input that must be constant
RUN_TIME: list[tuple[str, tuple[str, ...], dict[str, int], str]] = [
    ("Slice", ("at", "at"), {}, "starts ('at')"), ("Reshape", ("at",), {}, "shape ('at')"),
    ("Resize", ("", "", "at"), {}, "sizes ('at')"), ("Resize", ("", "scale"), {}, "scales ('scale')"),
    ("Expand", ("at",), {}, "shape ('at')"), ("Tile", ("at",), {}, "repeats ('at')"),
    ("Pad", ("wide",), {}, "pads ('wide')"), ("Split", ("at",), {"axis": 0}, "split ('at')"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "inputs", "attributes", "named"), RUN_TIME)
def test_parameters_known_at_run_time_only(
    tmp_path: Path, op: str, inputs: tuple[str, ...], attributes: dict[str, int], named: str
) -> None:
    count = 2 if op == "Split" else 1
    outputs = [f"y{i}" for i in range(count)]
    nodes = [
        helper.make_node(op, ["x", *inputs], outputs, "late", **attributes),  # type: ignore[arg-type]
        helper.make_node("Relu", [outputs[0]], ["z"], "follows"),
    ]
    late = {"at": _port("at", TensorProto.INT64, 2), "wide": _port("wide", TensorProto.INT64, 4)}
    late["scale"] = f32("scale", 2)
    ports = [f32("x", 2, 1), *(late[n] for n in dict.fromkeys(inputs) if n)]
    (found,) = _refusals(tmp_path, model(nodes, ports, [f32("z", "a", "b")]))
    assert f"{op} 'late'" in found and f"its input {named} is computed at run time and must be a constant" in found


def test_wide_floats_are_listed_once(tmp_path: Path) -> None:
    ports = [_port(n, TensorProto.DOUBLE, 2) for n in "xy"]
    (found,) = _refusals(tmp_path, model([helper.make_node("Relu", ["x"], ["y"], "r")], ports[:1], ports[1:]))
    assert "Relu 'r' (2): tensor 'x' is DOUBLE" in found
    found = _refusals(tmp_path, model([], [_port("x", TensorProto.DOUBLE, 2)], [f32("w", 4)], {"w": numbers(4)}))[0]
    assert "input 'x': tensor 'x' is DOUBLE" in found


def test_constants_as_outputs(tmp_path: Path) -> None:
    value = onnx.numpy_helper.from_array(numbers(3), "v")
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Size", ["x"], ["n"]),
        helper.make_node("Constant", [], ["c"], value=value), helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Add", ["c", "y"], ["z"]),
    ]  # fmt: skip
    outputs = [f32("c", 3), _port("s", TensorProto.INT64, 2), _port("n", TensorProto.INT64), f32("z", 2, 3)]
    onnx.save(model(nodes, [f32("x", 2, 3)], outputs), tmp_path / "m.onnx")
    x: Array = numbers(2, 3, seed=1)
    with es.open(es.compile(es.load(tmp_path / "m.onnx"), out=tmp_path / "m.edge")) as session:
        found = session.run({"x": x})
    assert found["s"].tolist() == [2, 3] and found["n"].tolist() == 6 and np.array_equal(found["c"], numbers(3))
    assert np.allclose(found["z"], np.maximum(x, 0) + numbers(3))


def test_a_constant_output_of_another_type(tmp_path: Path) -> None:
    value = onnx.numpy_helper.from_array(np.zeros(3), "v")
    nodes = [helper.make_node("Constant", [], ["c"], value=value), helper.make_node("Relu", ["x"], ["y"])]
    proto = model(nodes, [f32("x", 2)], [f32("y", 2), _port("c", TensorProto.DOUBLE, 3)])
    (found,) = _refusals(tmp_path, proto)
    assert "output 'c' is a constant of type float64" in found


def test_libraries_do_not_log_to_the_user(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """onnx_ir logs a traceback when onnx's inference fails, as it does here."""
    nodes = [
        helper.make_node("FooBar", ["x"], ["f"], "odd"),
        helper.make_node("Concat", ["x", "u"], ["y"], "mixed", axis=0),
    ]
    proto = model(nodes, [f32("x", 2), _port("u", TensorProto.UINT8, 2)], [f32("f", 2), f32("y", 4)])
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(es.EdgeSparseError):
        es.compile(es.load(tmp_path / "m.onnx"), out=tmp_path / "m.edge")
    assert "Traceback" not in capfd.readouterr().err


def test_listed_kernels_exist() -> None:
    """`Operator.kernels` names rows of the kernel table, and only what renames bytes has none."""
    known = {kernel.op for kernel in table()}
    assert {k for operator in OPERATORS.values() for k in operator.kernels} <= known
    bare = {name for (_, name), operator in OPERATORS.items() if not operator.kernels}
    assert bare <= {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Conv"}
