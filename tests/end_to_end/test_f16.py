"""Whole networks in f16: the trained keyword spotter decides as in f32, MobileNetV1 is off by little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgesparse as es
from edgesparse.compare import TOLERANCE, output_error
from edgesparse.frontend import export_factory
from edgesparse.manifest import read_manifest
from tests.conftest import PROJECT, require
from tests.end_to_end.test_networks import smooth_noise


@pytest.mark.parametrize(
    ("device", "cpu", "isa", "every"),
    [("rpi5", "max", "neon_fp16", 1), ("pixel-8", "cortex-a76", "neon_fp16", 5), ("rpi4", "cortex-a53", "neon", 5)],
)
def test_kws_decides_as_onnxruntime(
    device: str, cpu: str, isa: str, every: int, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On ``every`` n-th of 700 samples."""
    require("qemu-aarch64")
    path = data_dir / "kws" / "kws_ref_model.onnx"
    data = np.load(data_dir / "kws" / "kws01_dev.npz", allow_pickle=False)
    x = ((data["x"].astype(np.float32) - data["zero_point"]) * data["scale"]).astype(np.float32)[::every, ..., None]
    expected = onnxruntime.InferenceSession(str(path)).run(None, {"input_1": x})[0]
    bundle = es.compile(es.load(path), device=device, out=tmp_path / "kws.edge", precision="f16")
    manifest = read_manifest(bundle)
    assert [layer.op for layer in manifest.layers].count("convert") == 2  # behind the input and before the softmax
    assert manifest.isas == ("neon_fp16", "neon") and manifest.precision == "f16"
    monkeypatch.setenv("QEMU_CPU", cpu)
    with es.open(bundle, runtime="qemu") as session:
        got = session.run({"input_1": x}, each=True)["Identity"].reshape(expected.shape)
        assert session.machine["isa"] == isa
    assert np.abs(got - expected).max() < TOLERANCE["f16"] / 4
    assert (got.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.99
    right = [int((y.argmax(axis=1) == data["y"][::every]).sum()) for y in (got, expected)]
    assert abs(right[0] - right[1]) <= 2


def test_digits(tmp_path: Path) -> None:
    """The classifier of the quickstart finds as many digits as onnxruntime does, give or take one."""
    require("qemu-aarch64")
    path = PROJECT / "examples" / "digits.onnx"
    data = np.load(PROJECT / "examples" / "digits_test.npz", allow_pickle=False)
    x = data["image"][:, None].astype(np.float32)
    peer = onnxruntime.InferenceSession(str(path))
    (port,) = peer.get_inputs()
    expected = np.concatenate([peer.run(None, {port.name: image})[0] for image in x])
    bundle = es.compile(es.load(path), device="rpi5", out=tmp_path / "digits.edge", precision="f16")
    with es.open(bundle, runtime="qemu") as session:
        (got,) = session.run({port.name: x}, each=True).values()
    right = [int((y.reshape(len(x), -1).argmax(axis=1) == data["labels"]).sum()) for y in (got, expected)]
    assert abs(right[0] - right[1]) <= 1 and right[1] > 180


def test_mobilenet_v1(tmp_path: Path) -> None:
    """Random weights, 0.7 of them zero in blocks: half the memory, and the same answer."""
    require("torch")
    require("qemu-aarch64")
    model = export_factory(f"{PROJECT / 'examples' / 'models.py'}:mobilenet_v1")
    es.sparsify(model, pattern="block:4x1", sparsity=0.7, rearrange=False)
    es.save(model, tmp_path / "m.onnx")
    peer = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    (port,) = peer.get_inputs()
    x = smooth_noise(port.shape, 0)
    (expected,) = peer.run(None, {port.name: x})
    size = {}
    for precision in ("f32", "f16"):
        bundle = es.compile(
            es.load(tmp_path / "m.onnx"), device="rpi5", out=tmp_path / f"{precision}.edge", precision=precision
        )
        size[precision] = read_manifest(bundle)
    with es.open(bundle, runtime="qemu") as session:
        (given,) = session.run({port.name: x}).values()
    error = output_error("", [expected], [given.reshape(expected.shape)])
    assert error.max_rel < TOLERANCE["f16"] / 4 and error.agree == error.rows
    assert size["f16"].weights_bytes < 0.6 * size["f32"].weights_bytes
    assert size["f16"].arena_bytes < 0.55 * size["f32"].arena_bytes
