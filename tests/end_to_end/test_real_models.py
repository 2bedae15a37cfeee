"""Trained models as tf2onnx wrote them (NHWC inputs): every target answers as onnxruntime does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgesparse as es
from edgesparse.types import Array
from tests.conftest import require

MODELS = {"vww/vww_96.onnx": 1, "resnet8/resnet8_cifar10.onnx": 255}
"""File -> the brightness of white: that of their training images."""
VARIANTS = [("dense", 0.0)] + [(p, s) for p in ("block:4x1", "block:2x1", "unstructured") for s in (0.5, 0.9)]


@pytest.mark.parametrize(
    ("device", "runtime", "engine"),
    [("host", "local", None), ("rpi5", "qemu", "qemu-aarch64"), ("browser", "wasmtime", "wasmtime")],
)
@pytest.mark.parametrize(("pattern", "sparsity"), VARIANTS)
@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_onnxruntime(
    name: str, pattern: str, sparsity: float, device: str, runtime: str, engine: str | None, data_dir: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    if engine:
        require(engine)
    model = es.load(data_dir / name)
    if sparsity:
        es.sparsify(model, pattern=pattern, sparsity=sparsity, rearrange=False)
    es.save(model, tmp_path / "m.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    peer = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), options)
    (port,) = peer.get_inputs()
    x = MODELS[name] * blobs(4, port.shape[1], port.shape[2])
    expected = np.concatenate([peer.run(None, {port.name: image[None]})[0] for image in x])
    bundle = es.compile(es.load(tmp_path / "m.onnx"), device=device, out=tmp_path / "m.edge")
    with es.open(bundle, runtime=runtime) as session:
        given = next(iter(session.run({port.name: x}, each=True).values())).reshape(expected.shape)
    assert float(np.abs(given - expected).max()) < 1e-4 * float(np.abs(expected).max())


def blobs(count: int, height: int, width: int) -> Array:
    """Random 4x4 mosaics with noise, (count, height, width, 3) in [0, 1]: unlike noise alone, they differ for a CNN."""
    random = np.random.default_rng(0)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    mosaics = random.random((count, 4, 4, 3), dtype=np.float32)[:, rows[:, None], columns]
    noise: Array = random.standard_normal(mosaics.shape, dtype=np.float32)
    return np.clip(mosaics + 0.3 * noise, 0, 1)
