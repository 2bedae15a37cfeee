"""The trained keyword spotter on 700 real samples: every target answers as onnxruntime does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgesparse as es
from edgesparse.manifest import read_manifest
from tests.conftest import require


@pytest.mark.parametrize(
    ("device", "runtime", "program"),
    [
        ("host", "local", None),
        ("rpi5", "qemu", "qemu-aarch64-static"),
        ("browser", "wasmtime", None),
        ("browser", "node", "node"),
        ("browser-relaxed", "wasmtime", None),
    ],
)
def test_kws_agrees_with_onnxruntime(
    device: str, runtime: str, program: str | None, data_dir: Path, tmp_path: Path
) -> None:
    if program:
        require(program)
    path = data_dir / "kws" / "kws_ref_model.onnx"
    data = np.load(data_dir / "kws" / "kws01_dev.npz", allow_pickle=False)
    x = ((data["x"].astype(np.float32) - data["zero_point"]) * data["scale"]).astype(np.float32)[..., None]
    expected = onnxruntime.InferenceSession(str(path)).run(None, {"input_1": x})[0]
    bundle = es.compile(es.load(path), device=device, out=tmp_path / "kws.edge")
    with es.open(bundle, runtime=runtime) as session:
        got = session.run({"input_1": x}, each=True)["Identity"].reshape(expected.shape)
    assert np.abs(got - expected).max() < 1e-4
    assert (got.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert int((got.argmax(axis=1) == data["y"]).sum()) == 633
    code = read_manifest(bundle).code_bytes
    if device.startswith("browser"):
        assert code < 150_000
    elif device == "rpi5":
        assert code < 400_000
