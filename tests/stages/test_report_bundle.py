"""`report-bundle`: what is in it when all goes well, when something fails, and what is not in it."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import edgesparse as es
from edgesparse.cli import app
from edgesparse.decoder.to_onnx import to_onnx
from edgesparse.importer import save
from edgesparse.report_bundle import report_bundle
from edgesparse.runtimes.adb_client import Listed
from edgesparse.stripped import stripped
from tests import tiny_models
from tests.conftest import PROJECT
from tests.decoder.made import decoder

MODEL = PROJECT / "examples" / "digits.onnx"


def content(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        assert file.testzip() is None
        return {name: file.read(name) for name in file.namelist()}


def weights(path: Path) -> list[bytes]:
    """Pieces of every weight of a model."""
    tensors = [numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer]
    return [t.tobytes()[:64] for t in tensors if t.dtype == np.float32 and t.size >= 16]


def test_a_model_that_works() -> None:
    found = report_bundle(MODEL)
    assert not [s for s in found.steps if s.error and s.what != "attached devices"]
    files = content(found.archive())
    assert {"log.txt", "machine.json", "graph.onnx", "manifest.json", "model.c"} <= set(files)
    log = files["log.txt"].decode()
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() in log
    assert "compare with onnxruntime: ok" in log and "max_rel" in log and "es_spmm_f32" in log
    graph = onnx.load_from_string(files["graph.onnx"])
    assert [n.op_type for n in graph.graph.node] == [n.op_type for n in onnx.load(MODEL).graph.node]
    onnx.checker.check_model(graph)
    for name, text in files.items():
        assert not any(piece in text for piece in weights(MODEL)), name
        assert name != "weights.bin" and str(Path.home()).encode() not in text
    assert len(weights(MODEL)) > 3
    assert json.loads(files["machine.json"])["packages"]["numpy"] == np.__version__


def test_a_language_model(tmp_path: Path) -> None:
    save(to_onnx(decoder(vocabulary=256, blocks=1)), tmp_path / "lm.onnx")
    found = report_bundle(tmp_path / "lm.onnx")
    assert not [s for s in found.steps if s.error and s.what != "attached devices"]
    assert {"compile for host", "generate with the runtime auto"} <= {s.what for s in found.steps}


def test_what_fails_is_part_of_it(tmp_path: Path) -> None:
    nodes = [helper.make_node("Det", ["x"], ["y"], "det")]
    onnx.save(tiny_models.model(nodes, [tiny_models.f32("x", 3, 3)], [tiny_models.f32("y")]), tmp_path / "m.onnx")
    found = report_bundle(tmp_path / "m.onnx")
    (failed,) = (s for s in found.steps if s.what.startswith("compile"))
    assert "Det" in failed.error and "Traceback" in failed.error
    assert "Det" in content(found.archive())["log.txt"].decode()
    (tmp_path / "none.onnx").write_bytes(b"garbage")
    found = report_bundle(tmp_path / "none.onnx")
    assert "load" in found.failed and "hash of the model" not in found.failed and "doctor" not in found.failed


def test_a_damaged_bundle(tmp_path: Path) -> None:
    bundle = es.compile(es.load(MODEL), out=tmp_path / "m.edge")
    data = bytearray((bundle / "weights.bin").read_bytes())
    data[100] ^= 1
    (bundle / "weights.bin").write_bytes(data)
    found = report_bundle(bundle)
    files = content(found.archive())
    assert any(what.startswith("run with") for what in found.failed)
    assert "weights.bin" in files["log.txt"].decode() and "expected, but" in files["log.txt"].decode()
    assert "weights.bin" not in files and bytes(data[:64]) not in b"".join(files.values())


def test_weights_wherever_they_are() -> None:
    secret = np.arange(100, 164, dtype=np.float32).reshape(8, 8)
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(secret, "t")),
         helper.make_node("MatMul", ["x", "c"], ["z"])],
        "branch", [], [tiny_models.f32("z", 8, 8)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Constant", [], ["d"], value=numpy_helper.from_array(secret + 1, "u")),
        helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([8, 8]), "s")),
        helper.make_node("If", ["b"], ["y"], then_branch=inner, else_branch=inner),
    ]
    graph = helper.make_graph(
        nodes, "g", [tiny_models.f32("x", 8, 8), helper.make_tensor_value_info("b", TensorProto.BOOL, [])],
        [tiny_models.f32("y", 8, 8)], [numpy_helper.from_array(secret + 2, "w")], doc_string="private",
    )  # fmt: skip
    model = helper.make_model(graph, doc_string="private")
    model.metadata_props.add(key="author", value="private")
    proto, lines = stripped(model)
    data = proto.SerializeToString()
    for piece in (secret, secret + 1, secret + 2):
        assert piece.tobytes()[:16] not in data and piece.tobytes()[:16] in model.SerializeToString()
    assert b"private" not in data and len(lines) == 4  # both branches hold it
    assert {"c", "d", "w", "x", "b"} == {v.name for v in proto.graph.input}
    assert numpy_helper.to_array(proto.graph.node[0].attribute[0].t).tolist() == [8, 8]
    assert "0.0000 zeros" in lines[0]


def test_what_functions_and_attributes_hold() -> None:
    """Exporters write functions, too; and what was learned need not be a float, or a tensor."""
    secret = np.arange(100, 164, dtype=np.float32).reshape(8, 8)
    small = np.arange(60, 100, dtype=np.int8)
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(secret, "t"), doc_string="private")
    constant.metadata_props.add(key="trace", value="private")
    function = helper.make_function(
        "local", "f", ["x"], ["z"], [constant, helper.make_node("MatMul", ["x", "c"], ["z"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(secret[0] + 3, "v"), numpy_helper.from_array(np.arange(8), "i"), [64]
    )
    nodes = [
        helper.make_node("f", ["x"], ["y"], domain="local"),
        helper.make_node("Constant", [], ["d"], value_floats=[float(v) for v in secret[1] + 1]),
        helper.make_node("Constant", [], ["e"], sparse_value=sparse),
        helper.make_node("Odd", ["x"], ["o"], domain="local", learned=[float(v) for v in secret[2] + 2]),
    ]
    graph = helper.make_graph(
        nodes, "g", [tiny_models.f32("x", 8, 8)], [tiny_models.f32("y", 8, 8)], [numpy_helper.from_array(small, "q")]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=opsets)
    model.training_info.add().initialization.initializer.append(numpy_helper.from_array(secret + 4, "w"))
    proto, lines = stripped(model)
    data = proto.SerializeToString()
    for piece in (secret[0], secret[0] + 4, secret[1] + 1, secret[2] + 2, secret[0] + 3, small):
        assert piece.tobytes() in model.SerializeToString() and piece.tobytes() not in data
    assert b"private" in model.SerializeToString() and b"private" not in data
    assert {"q", "d", "e", "x"} == {v.name for v in proto.graph.input} and len(lines) == 5
    (zeros,) = proto.functions[0].node[0].attribute
    assert zeros.name == "sparse_value" and list(zeros.sparse_tensor.dims) == [8, 8]


def test_nobody_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "customer-42"
    folder.mkdir()
    model = folder / "m.onnx"
    model.write_bytes(MODEL.read_bytes())
    monkeypatch.setattr("platform.node", lambda: "a-laptop")
    monkeypatch.setattr("getpass.getuser", lambda: "mallory")
    monkeypatch.setattr("edgesparse.report_bundle.adb_program", lambda: "adb")
    monkeypatch.setattr("edgesparse.report_bundle.listed_devices", lambda _: [Listed("R58M1234567", "device")])
    said = "R58M1234567 of mallory on a-laptop, 10.7.7.7, pi@10.7.7.7:2222; spi pictures"
    monkeypatch.setattr("edgesparse.report_bundle._doctor", lambda: said)
    found = report_bundle(model, "rpi5", "ssh:pi@10.7.7.7:2222")
    files = content(found.archive())
    log = files["log.txt"].decode()
    assert "(serial) of (user) on this-machine, (board), (board); spi pictures" in log
    assert "run with the runtime ssh:(board)" in log
    for name, text in files.items():
        for word in (b"customer-42", b"R58M", b"mallory", b"a-laptop", b"10.7.7.7", str(PROJECT).encode()):
            assert word not in text, (name, word)
    with monkeypatch.context() as one:
        one.setattr("edgesparse.report_bundle.listed_devices", lambda _: [])
        assert b"SERIAL9" not in report_bundle(model, "rpi5", "adb:SERIAL9").files["log.txt"]


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "r.zip"
    result = CliRunner().invoke(app, ["report-bundle", str(MODEL), "-o", str(out), "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert set(document["files"]) == set(content(out.read_bytes())) and len(document["steps"]) > 8
    again = CliRunner().invoke(app, ["report-bundle", str(MODEL), "-o", str(out)])
    assert again.exit_code != 0 and sorted(p.name for p in tmp_path.iterdir()) == ["r.zip"]
    missing = CliRunner().invoke(app, ["report-bundle", str(tmp_path / "none"), "-o", str(tmp_path / "q.zip")])
    assert missing.exit_code != 0 and not (tmp_path / "q.zip").exists()


@pytest.mark.parametrize("name", ["m.onnx", "m.edge"])
def test_hostile_names(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"-x '\"\n\x1b[31m {name}"
    path.write_bytes(b"x") if name.endswith("onnx") else path.mkdir()
    result = CliRunner().invoke(app, ["report-bundle", "-o", str(tmp_path / "r.zip"), "--", str(path)])
    assert result.exit_code == 0 and "\x1b" not in result.stdout
