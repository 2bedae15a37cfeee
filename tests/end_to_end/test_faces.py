"""The trained face detector on four photographs: every target finds the faces that onnxruntime finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

import edgesparse as es
from edgesparse.types import Array
from tests.conftest import require

PHOTOGRAPHS = ("2.jpg", "12.jpg", "19.jpg", "23.jpg")
CONFIDENCE, OVERLAP, SAME = 0.7, 0.5, 0.99
COUNTS = {"2.jpg": 4, "12.jpg": 5, "19.jpg": 5, "23.jpg": 3}  # what onnxruntime finds


def pixels(path: Path) -> Array:
    """(1, 3, 240, 320) as the model was trained."""
    image = Image.open(path).convert("RGB").resize((320, 240), Image.Resampling.BILINEAR)
    x = (np.asarray(image, np.float32) - 127) / 128
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None])


def overlap(box: Array, boxes: Array) -> Array:
    """Intersection over union of (4,) with (N, 4): left, top, right, bottom."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common: Array = np.prod(np.clip(high - low, 0, None), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - common
    ratio: Array = common / union
    return ratio


def faces(scores: Array, boxes: Array) -> Array:
    """Boxes (N, 4) over the confidence after non-maximum suppression, best first."""
    confidence = scores[0, :, 1]
    left = [i for i in np.argsort(-confidence) if confidence[i] > CONFIDENCE]
    kept: list[Array] = []
    while left:
        best = boxes[0, left[0]]
        kept.append(best)
        left = [i for i in left[1:] if overlap(best, boxes[0, i : i + 1])[0] <= OVERLAP]
    return np.array(kept).reshape(-1, 4)


@pytest.mark.parametrize(
    ("device", "runtime", "program"),
    [("host", "local", None), ("rpi5", "qemu", "qemu-aarch64"), ("browser", "wasmtime", "wasmtime")],
)
def test_the_same_faces(device: str, runtime: str, program: str | None, data_dir: Path, tmp_path: Path) -> None:
    if program:
        require(program)
    path = data_dir / "ultraface" / "version-RFB-320.onnx"
    images = {name: pixels(data_dir / "ultraface" / name) for name in PHOTOGRAPHS}
    options = ort.SessionOptions()
    options.log_severity_level = 3  # this model lists its weights as inputs, which onnxruntime warns of
    peer = ort.InferenceSession(str(path), options)
    bundle = es.compile(es.load(path), device=device, out=tmp_path / "faces.edge")
    with es.open(bundle, runtime=runtime) as session:
        for name, x in images.items():
            expected = faces(*peer.run(["scores", "boxes"], {"input": x}))
            y = session.run({"input": x})
            got = faces(y["scores"], y["boxes"])
            assert len(got) == len(expected) == COUNTS[name], name
            for mine, theirs in zip(got, expected, strict=True):
                assert overlap(mine, theirs[None])[0] > SAME, name
