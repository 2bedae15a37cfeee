"""What `load` accepts, what it refuses and how it says so; shapes; saving."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgesparse.errors import EdgeSparseError, InputError
from edgesparse.importer import bind_default_shapes, load, save
from edgesparse.lower import lower
from edgesparse.passes.pipeline import optimise, simplify
from tests.tiny_models import classifier, external, f32, linear, model, numbers

NEWEST = onnx.defs.onnx_opset_version()


def _load(folder: Path, proto: onnx.ModelProto, **shapes: tuple[int, ...]) -> object:
    onnx.save(proto, folder / "m.onnx")
    return load(folder / "m.onnx", shapes)


def _refused(folder: Path, proto: onnx.ModelProto, **shapes: tuple[int, ...]) -> InputError:
    with pytest.raises(InputError) as caught:
        _load(folder, proto, **shapes)
    assert caught.value.exit_code == 2
    assert caught.value.where == str(folder / "m.onnx")
    return caught.value


@pytest.mark.parametrize("opset", range(11, NEWEST + 1))
def test_every_opset_since_11(tmp_path: Path, opset: int) -> None:
    onnx.save(linear(opset), tmp_path / "m.onnx")
    loaded = load(tmp_path / "m.onnx")
    assert loaded.opset_imports[""] == opset
    simplify(loaded)
    optimise(loaded)
    assert lower(loaded).outputs == ("y",)


def test_an_old_opset_is_upgraded(tmp_path: Path) -> None:
    onnx.save(linear(9), tmp_path / "m.onnx")
    assert load(tmp_path / "m.onnx").opset_imports[""] == 13


def test_an_old_opset_that_cannot_be_upgraded(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["y"], "cast", to="FLOAT")]
    error = _refused(tmp_path, model(nodes, [f32("x", 2)], [f32("y", 2)], opset=5))
    assert error.what.startswith("opset 5 could not be upgraded to 13") and "opset 11 or newer" in error.hint


def test_an_opset_from_the_future(tmp_path: Path) -> None:
    error = _refused(tmp_path, linear(NEWEST + 1))
    assert error.what == f"opset {NEWEST + 1}; the installed onnx knows up to {NEWEST}"
    assert "pip install --upgrade onnx" in error.hint


def test_an_ir_version_from_the_future(tmp_path: Path) -> None:
    proto = linear()
    proto.ir_version = 99
    assert "IR version 99" in _refused(tmp_path, proto).what


@pytest.mark.parametrize("typed", [False, True])
def test_outputs_without_a_shape_are_inferred(tmp_path: Path, typed: bool) -> None:
    proto = linear(batch="n")
    proto.graph.output[0].ClearField("type")
    if typed:
        proto.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(proto, tmp_path / "m.onnx")
    (output,) = load(tmp_path / "m.onnx").graph.outputs
    assert output.shape is not None and [str(d) for d in output.shape] == ["n", "3"]
    (output,) = load(tmp_path / "m.onnx", {"x": (7, 4)}).graph.outputs
    assert output.shape == (7, 3) and output.dtype is not None and output.dtype.name == "FLOAT"


def test_an_operator_that_is_younger_than_the_opset(tmp_path: Path) -> None:
    proto = model([helper.make_node("Gelu", ["x"], ["y"], "odd")], [f32("x", 2)], [f32("y", 2)])
    error = _refused(tmp_path, proto)
    assert error.what == "Gelu 'odd' does not exist in opset 17, but since 20" and "opset 20 or newer" in error.hint


def test_two_values_of_one_name(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"], "a"), helper.make_node("Neg", ["x"], ["y"], "b")]
    error = _refused(tmp_path, model(nodes, [f32("x", 1)], [f32("y", 1)]))
    assert "'y'" in error.what and "single static assignment" in error.what


@pytest.mark.parametrize("change", [-4, -1, 1, 4])
def test_raw_data_of_another_length(tmp_path: Path, change: int) -> None:
    proto = linear()
    weight = proto.graph.initializer[0]
    weight.raw_data = weight.raw_data[:change] if change < 0 else weight.raw_data + bytes(change)
    assert _refused(tmp_path, proto).what == f"weight 'w' has {48 + change} bytes, its shape [4, 3] needs 48"


def test_typed_data_of_another_length(tmp_path: Path) -> None:
    proto = linear()
    proto.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, [4, 3], range(12)))
    _load(tmp_path, proto)
    proto.graph.initializer[0].float_data.pop()
    assert "has 11 values, its shape [4, 3] needs 12" in _refused(tmp_path, proto).what


def test_a_weight_in_an_attribute_is_checked(tmp_path: Path) -> None:
    proto = linear()
    weight = onnx.TensorProto()
    weight.CopyFrom(proto.graph.initializer[0])
    weight.dims[0] = 5
    del proto.graph.initializer[:]
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["w"], "constant", value=weight))
    assert "has 48 bytes, its shape [5, 3] needs 60" in _refused(tmp_path, proto).what


@pytest.mark.parametrize(
    ("dims", "message"),
    [([2**40, 2**20], "needs 4611686018427387904"), ([-1, 3], "negative dimension"), ([2**62] * 8, "needs")],
)
def test_dimensions_of_weights_are_not_believed(tmp_path: Path, dims: list[int], message: str) -> None:
    proto = linear()
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend(dims)
    assert message in _refused(tmp_path, proto).what


def test_an_unknown_type(tmp_path: Path) -> None:
    proto = linear()
    proto.graph.initializer[0].data_type = 99
    assert _refused(tmp_path, proto).what == "weight 'w' has the unknown type 99"


def test_a_sparse_initializer(tmp_path: Path) -> None:
    proto = linear()
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4, 3]))
    assert "'w' is a sparse_initializer" in _refused(tmp_path, proto).what


def test_weights_that_do_not_fit_their_node(tmp_path: Path) -> None:
    proto = linear()
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(numbers(5, 3), "w"))
    error = _refused(tmp_path, proto)
    assert error.what.startswith("shapes or types do not fit: (op_type:MatMul, node name: fc)")


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Split", ["x"], ["a", "y"], "split", axis=0, num_outputs=1),
        helper.make_node("LayerNormalization", ["x", "w"], ["y", "a", "b"], "norm", axis=2**63 - 2),
    ],
)
def test_a_node_of_which_shape_inference_dies(tmp_path: Path, node: onnx.NodeProto) -> None:
    error = _refused(tmp_path, model([node], [f32("x", 4, 4), f32("w", 4, 4)], [f32("y", 4, 4)], opset=18))
    assert error.what.startswith("shapes or types do not fit: ")


def test_external_data_beneath_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(bytes(8) + numbers(4, 3).tobytes() + bytes(8))
    onnx.save(external("data/w.bin", offset="8", length="48"), tmp_path / "m.onnx")
    weight = load(tmp_path / "m.onnx").graph.initializers["w"].const_value
    assert weight is not None and np.array_equal(weight.numpy(), numbers(4, 3))


def test_external_data_of_an_old_model(tmp_path: Path) -> None:
    proto = external("w.bin")
    proto.opset_import[0].version = 9
    (tmp_path / "w.bin").write_bytes(numbers(4, 3).tobytes())
    onnx.save(proto, tmp_path / "m.onnx")
    weight = load(tmp_path / "m.onnx").graph.initializers["w"].const_value
    assert weight is not None and np.array_equal(weight.numpy(), numbers(4, 3))


@pytest.mark.parametrize("where", ["parent", "absolute", "link", "link to a folder", "nowhere"])
def test_external_data_outside_of_the_folder(tmp_path: Path, where: str) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "w.bin").write_bytes(numbers(4, 3).tobytes())
    (inside / "link.bin").symlink_to(outside / "w.bin")
    (inside / "link").symlink_to(outside)
    location = {
        "parent": "../outside/w.bin", "absolute": str(outside / "w.bin"), "link": "link.bin",
        "link to a folder": "link/w.bin", "nowhere": "",
    }[where]  # fmt: skip
    error = _refused(inside, external(location))
    assert error.what == f"weight 'w' lies outside of the model's folder: {location!r}"


def test_external_data_that_is_missing(tmp_path: Path) -> None:
    error = _refused(tmp_path, external("w.bin"))
    assert error.what == "weights are missing: 'w' should be in 'w.bin'" and error.hint == f"copy w.bin into {tmp_path}"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "has 40 bytes, its shape [4, 3] needs 48"),
        ({"offset": "8"}, "has 32 bytes"),
        ({"length": "20"}, "has 20 bytes"),
        ({"offset": "41"}, "has offset '41' and length '' in 'w.bin' of 40 bytes"),
        ({"offset": "-1"}, "has offset '-1'"),
        ({"length": "many"}, "and length 'many'"),
    ],
)
def test_external_data_cut_short(tmp_path: Path, entries: dict[str, str], message: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(40))
    assert message in _refused(tmp_path, external("w.bin", **entries)).what


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (1, 4)}, "no input named 'z'"),
        ({"x": (1, 4, 1)}, "shape (1, 4, 1) does not fit input 'x', declared as ('n', '2', '8', '8')"),
        ({"x": (1, 3, 8, 8)}, "shape (1, 3, 8, 8) does not fit input 'x'"),
        ({"x": (0, 2, 8, 8)}, "shape (0, 2, 8, 8) does not fit input 'x'"),
    ],
)
def test_shapes_that_do_not_fit_the_input(tmp_path: Path, shapes: dict[str, tuple[int, ...]], message: str) -> None:
    assert message in _refused(tmp_path, classifier(), **shapes).what


def test_shapes_that_do_not_fit_each_other(tmp_path: Path) -> None:
    proto = model([helper.make_node("Add", ["a", "b"], ["y"], "add")], [f32("a", "n"), f32("b", "m")], [f32("y", "k")])
    _load(tmp_path, proto, a=(3,), b=(3,))
    error = _refused(tmp_path, proto, a=(3,), b=(4,))
    assert error.what.startswith("shapes or types do not fit: (op_type:Add, node name: add)")


def test_the_batch_becomes_1(tmp_path: Path) -> None:
    onnx.save(linear(batch="n"), tmp_path / "m.onnx")
    loaded = load(tmp_path / "m.onnx")
    assert bind_default_shapes(loaded) == ["input 'x': batch dimension n bound to 1 (--shape changes it)"]
    assert loaded.graph.inputs[0].shape == [1, 4] and loaded.graph.outputs[0].shape == [1, 3]


def test_another_symbolic_dimension_must_be_given(tmp_path: Path) -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])], [f32("x", "n", "h", 4)], [f32("y", "n", "h", 4)])
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"symbolic dimensions: .'n', 'h', '4'.") as caught:
        bind_default_shapes(load(tmp_path / "m.onnx"))
    assert caught.value.hint == "--shape x=1,1,4"
    assert bind_default_shapes(load(tmp_path / "m.onnx", {"x": (1, 2, 4)})) == []


def test_weights_listed_as_inputs(tmp_path: Path) -> None:
    proto = linear()
    proto.graph.input.append(f32("w", 4, 3))
    onnx.save(proto, tmp_path / "m.onnx")
    assert [v.name for v in load(tmp_path / "m.onnx").graph.inputs] == ["x"]


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    onnx.save(linear(), tmp_path / "m.onnx")
    save(load(tmp_path / "m.onnx"), tmp_path / "again.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "again.onnx"), full_check=True)
    assert sorted(os.listdir(tmp_path)) == ["again.onnx", "m.onnx"]


def test_saving_to_no_folder(tmp_path: Path) -> None:
    onnx.save(linear(), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="could not be written"):
        save(load(tmp_path / "m.onnx"), tmp_path / "m.onnx" / "y.onnx")


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _flip(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        damaged[rng.randrange(len(data))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(damaged)


def _shift(data: bytes, rng: random.Random) -> bytes:
    at, count = rng.randrange(len(data)), rng.randrange(1, 9)
    return data[:at] + (data[at + count :] if rng.random() < 0.5 else rng.randbytes(count) + data[at:])


@pytest.mark.parametrize(("damage", "count"), [(_cut, 300), (_flip, 1500), (_shift, 300)])
def test_a_damaged_file_is_refused_or_understood(
    tmp_path: Path, damage: Callable[[bytes, random.Random], bytes], count: int
) -> None:
    """Never a traceback: every damaged file either raises an error of ours or still is a model."""
    data, rng = classifier().SerializeToString(), random.Random(damage.__name__)
    path = tmp_path / "m.onnx"
    refused = 0
    for _ in range(count):
        path.write_bytes(damage(data, rng))
        try:
            loaded = load(path)
            bind_default_shapes(loaded)
            simplify(loaded)
            optimise(loaded)
            lower(loaded)
        except EdgeSparseError as error:
            assert error.what and error.exit_code in (2, 3)
            refused += 1
    assert count // 2 < refused <= count
