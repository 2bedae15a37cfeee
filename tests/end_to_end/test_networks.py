"""Every network of examples/models.py, full size, on the host: dense and sparse outputs are onnxruntime's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

import edgesparse as es
from edgesparse.frontend import export_factory
from edgesparse.passes.pipeline import simplify
from edgesparse.types import Array
from tests.conftest import PROJECT, require

NETWORKS = (
    "mobilenet_v1", "mobilenet_v2", "efficientnet_lite0", "resnet18", "resnet50", "squeezenet1_1", "ds_cnn", "vit",
)  # fmt: skip
VARIANTS = [("dense", 0.0)] + [(p, s) for p in ("block:4x1", "block:2x1", "unstructured") for s in (0.5, 0.9)]
TOLERANCE = 1e-4


@pytest.mark.parametrize("network", NETWORKS)
def test_network_agrees_with_onnxruntime(network: str, tmp_path: Path) -> None:
    require("torch")
    exported = tmp_path / "m.onnx"
    es.save(export_factory(f"{PROJECT / 'examples' / 'models.py'}:{network}"), exported)
    errors, effects = {}, {}
    for pattern, sparsity in VARIANTS:
        variant = f"{pattern} {sparsity}"
        model = es.load(exported)
        if sparsity:
            sparsify_keeping_scale(model, pattern, sparsity)
        errors[variant], effects[variant] = compare(model, tmp_path)
    assert max(errors.values()) < TOLERANCE, errors
    assert min(effects.values()) > 100 * TOLERANCE, f"the output hardly depends on the input: {effects}"


def sparsify_keeping_scale(model: ir.Model, pattern: str, sparsity: float) -> None:
    """`es.sparsify`, then scale each pruned weight to its former norm.

    Random weights pruned in one go shrink the activations of every layer. After fifty layers only biases
    would be left of the output, and no error in an early layer could be seen.
    """
    simplify(model)
    before = {name: value.const_value for name, value in model.graph.initializers.items()}
    es.sparsify(model, pattern=pattern, sparsity=sparsity, rearrange=False)
    for name, value in model.graph.initializers.items():
        old, new = before[name], value.const_value
        assert old is not None and new is not None
        if new is not old:
            array = new.numpy()
            value.const_value = ir.tensor(array * (np.linalg.norm(old.numpy()) / np.linalg.norm(array)), name=name)


def compare(model: ir.Model, folder: Path) -> tuple[float, float]:
    """On two inputs: the largest error, and how far the two outputs are apart, relative to the largest output."""
    es.save(model, folder / "saved.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    peer = onnxruntime.InferenceSession(str(folder / "saved.onnx"), options)
    (port,) = peer.get_inputs()
    inputs = [smooth_noise(port.shape, seed) for seed in (0, 1)]
    expected = [peer.run(None, {port.name: x})[0] for x in inputs]
    bundle = es.compile(es.load(folder / "saved.onnx"), device="host", out=folder / "m.edge", force=True)
    with es.open(bundle, runtime="local") as session:
        given = [next(iter(session.run({port.name: x}).values())) for x in inputs]
    largest = float(np.abs(expected).max())
    error = float(np.abs(np.subtract(given, expected)).max())
    return error / largest, float(np.abs(expected[0] - expected[1]).max()) / largest


def smooth_noise(shape: list[int], seed: int) -> Array:
    """Blobs of random brightness under pixel noise: what is left of pure noise after pooling is always the same."""
    random = np.random.default_rng(seed)
    n, channels, height, width = shape
    blobs = 2 * random.standard_normal((n, channels, 4, 4), dtype=np.float32)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    return blobs[:, :, rows[:, None], columns] + random.standard_normal(shape, dtype=np.float32)
