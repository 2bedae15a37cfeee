"""`bench MODEL.onnx`: detect, compile, run, dense beside sparse; nothing of it stays anywhere."""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgesparse import bench_model as product
from edgesparse.compile import compile_model
from edgesparse.devices import load_device
from edgesparse.importer import load
from edgesparse.runtimes.session import Session
from tests import tiny_models
from tests.attached.adb_device import AdbDevice
from tests.attached.faults import Attached
from tests.tiny_models import f32, numbers

from .conftest import Call

SPARSE = ("--pattern", "block:4x1", "--sparsity", "0.75", "--num-runs", "7", "--warmup-runs", "1")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in which "second" can be pruned; temporary files are in a folder beside it, ``tmp``."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "first"), helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "v"], ["c"], "second"), helper.make_node("GlobalAveragePool", ["c"], ["d"], "p"),
        helper.make_node("Flatten", ["d"], ["e"], "flat"), helper.make_node("MatMul", ["e", "u"], ["y"], "fc"),
    ]  # fmt: skip
    weights = {"w": numbers(8, 2, 3, 3), "v": numbers(64, 8, 1, 1, seed=1), "u": numbers(64, 3, seed=2)}
    onnx.save(tiny_models.model(nodes, [f32("x", 1, 2, 8, 8)], [f32("y", 1, 3)], weights), tmp_path / "m.onnx")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "m.onnx"


def test_detected_compiled_and_run(attached: Attached, model: Path, call: Call) -> None:
    before, content = attached.root.files(), model.read_bytes()
    code, out, err = call("bench", model, "--device", "auto", "--runtime", attached.runtime, *SPARSE, "--json")
    assert code == 0, err
    assert "note: --device auto: pixel-8, Google Pixel 8 (Tensor G3)" in err
    found = json.loads(out)
    assert found["device"]["name"] == "pixel-8" and found["unit"] == "ms"
    dense, sparse = found["bundles"]
    assert (dense["name"], sparse["name"]) == ("dense", "sparse")
    assert dense["count"] == sparse["count"] == len(dense["wall_ns"]) == len(sparse["wall_ns"]) == 7
    assert sparse["weights_bytes"] < dense["weights_bytes"] and sparse["machine"]["timing"] == "on the device"
    assert found["sparsified"]["pattern"] == "block:4x1" and found["sparsified"]["zeros"] == pytest.approx(
        0.75, abs=0.1
    )
    gain = found["gain"]
    ends = [7 * number // 5 for number in range(6)]  # of five starts
    logs = [[np.log(np.median(x["wall_ns"][a:b])) for a, b in pairwise(ends)] for x in (dense, sparse)]
    assert gain["times"] == pytest.approx(np.exp(np.mean(logs[0]) - np.mean(logs[1])))
    assert gain["low"] <= gain["times"] <= gain["high"]
    assert attached.root.files() == before and not list((model.parent / "tmp").iterdir())
    assert model.read_bytes() == content and sorted(p.name for p in model.parent.glob("*.edge")) == []


def test_a_phone_that_no_file_describes(phone: AdbDevice, model: Path, call: Call) -> None:
    phone.root.set_properties({"ro.product.model": "Pixel Test", "ro.soc.model": "T"})
    code, out, err = call("bench", model, "--runtime", "adb", "--num-runs", "3")
    assert code == 0, err
    assert "compiled for detected-pixel-test" in " ".join(out.split()) and "dense" in out and "sparse" not in out
    assert "detected-pixel-test, Pixel Test (T), as it describes itself" in err


def test_here(model: Path, call: Call) -> None:
    code, out, err = call("bench", model, *SPARSE)
    assert code == 0 and "--device auto: host" in err, err
    assert "m.onnx compiled for host" in " ".join(out.split())
    assert "times as fast as dense (95% interval" in out and "75% zeros" in out


def test_dense_and_sparse_take_turns(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And all runs are kept, in their order."""
    order: list[tuple[str, int]] = []
    bench = Session.bench

    def watched(session: Session, *arguments: object, **options: int) -> object:
        order.append((session.manifest.name, options["num_runs"]))
        return bench(session, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "bench", watched)
    found = product.bench_model(load(model), load_device("host"), pattern="block:4x1", sparsity=0.5, num_runs=7)
    assert [name for name, _ in order] == ["dense", "sparse"] * 5
    assert sum(runs for name, runs in order if name == "sparse") == 7
    assert [len(one.result.wall_ns) for one in found.timed] == [7, 7]


def test_the_same_input_file_for_both(model: Path, call: Call, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 2, 8, 8), np.float32))
    code, _, err = call("bench", model, "--input", tmp_path / "x.npz", *SPARSE)
    assert code == 0, err
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 3, 8, 8), np.float32))
    code, out, err = call("bench", model, "--input", tmp_path / "x.npz", *SPARSE)
    assert (code, out) == (2, "") and "expected float32 [1, 2, 8, 8]" in err
    assert not list((model.parent / "tmp").iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sparsity", "0.7"), "a sparsity needs a pattern"),
        (("--pattern", "block:4x1"), "needs a sparsity"),
        (("--pattern", "nonsense", "--sparsity", "0.7"), "pattern"),
        (("--device", "pixel_8"), "did you mean pixel-8"),
        (("--runtime", "qemu"), "qemu is any arm64 device"),
        (("--device", "host", "--runtime", "node"), "cannot run a bundle of kind shared"),
    ],
)
def test_what_cannot_be(model: Path, call: Call, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = call("bench", model, *arguments)
    assert (code, out) == (2, "") and words in err, err
    assert not list((model.parent / "tmp").iterdir())


def test_no_model(call: Call) -> None:
    code, out, err = call("bench", "none.onnx")
    assert (code, out) == (2, "") and "none.onnx" in err


@pytest.mark.parametrize("options", [("--device", "rpi5"), ("--pattern", "block:4x1"), ("--sparsity", "0"),
                                     ("--shape", "x=1,2,8,8")])  # fmt: skip
def test_options_that_a_bundle_has_no_use_for(model: Path, call: Call, options: tuple[str, str]) -> None:
    bundle = compile_model(load(model), "host", model.parent / "m.edge")
    code, out, err = call("bench", bundle, *options)
    assert (code, out) == (2, "") and f"{options[0]} is for an ONNX file" in err
    code, out, err = call("bench", bundle, "--num-runs", "2")
    assert code == 0 and "milliseconds" in out and "median" in out, err
