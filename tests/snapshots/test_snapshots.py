"""The emitted C of four tiny models is what the files beside this one say; `make snapshots` writes them again."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgesparse.devices import load_device
from edgesparse.emit import emit
from edgesparse.importer import load
from edgesparse.lower import lower
from edgesparse.passes.pipeline import optimise, simplify
from edgesparse.plan import plan
from edgesparse.select import select
from edgesparse.sparsify import sparsify
from tests.tiny_models import f32, model, numbers

FOLDER = Path(__file__).parent
FILES = ("model.c", "kernels.h", "model.h")


def sparse_pointwise() -> onnx.ModelProto:
    """A 1x1 convolution that is pruned in blocks of 4x1, between two that stay dense."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first"),
        helper.make_node("Conv", ["a", "w1", "b1"], ["b"], "middle"),
        helper.make_node("Clip", ["b", "zero", "six"], ["c"], "relu6"),
        helper.make_node("Conv", ["c", "w2"], ["y"], "last"),
    ]
    weights = {
        "w0": numbers(8, 3, 1, 1), "w1": numbers(16, 8, 1, 1, seed=1), "b1": numbers(16, seed=2),
        "w2": numbers(4, 16, 1, 1, seed=3), "zero": np.array(0, np.float32), "six": np.array(6, np.float32),
    }  # fmt: skip
    return model(nodes, [f32("x", 1, 3, 6, 5)], [f32("y", 1, 4, 6, 5)], weights)


def depthwise_classifier() -> onnx.ModelProto:
    """Depthwise 3x3 with BatchNormalization and Relu, pooling, a fully connected layer, Softmax."""
    norm = {name: np.abs(numbers(4, seed=seed)) + 1 for seed, name in enumerate(("scale", "shift", "mean", "var"))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "depthwise", group=4, pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c", *norm], ["n"], "norm"),
        helper.make_node("Relu", ["n"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "v", "d"], ["g"], "fc", transB=1),
        helper.make_node("Softmax", ["g"], ["y"], "softmax", axis=1),
    ]
    weights = {"w": numbers(4, 1, 3, 3), "v": numbers(3, 4, seed=9), "d": numbers(3), **norm}
    return model(nodes, [f32("x", 1, 4, 9, 9)], [f32("y", 1, 3)], weights)


def residual() -> onnx.ModelProto:
    """relu(x + conv(relu(conv(x)))) with 3x3 convolutions, as in a ResNet."""
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu1"),
        helper.make_node("Conv", ["b", "w1", "b1"], ["c"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "x"], ["d"], "add"),
        helper.make_node("Relu", ["d"], ["y"], "relu2"),
    ]
    weights = {
        "w0": numbers(4, 4, 3, 3), "b0": numbers(4), "w1": numbers(4, 4, 3, 3, seed=1), "b1": numbers(4, seed=1),
    }  # fmt: skip
    return model(nodes, [f32("x", 1, 4, 6, 6)], [f32("y", 1, 4, 6, 6)], weights)


def channels_last() -> onnx.ModelProto:
    """What tf2onnx writes: NHWC outside, NCHW around each convolution."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], "to_chw", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["a", "w0"], ["b"], "conv1"),
        helper.make_node("Transpose", ["b"], ["c"], "to_hwc", perm=[0, 2, 3, 1]),
        helper.make_node("Relu", ["c"], ["d"], "relu"),
        helper.make_node("Transpose", ["d"], ["e"], "to_chw_again", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["e", "w1"], ["f"], "conv2"),
        helper.make_node("Transpose", ["f"], ["y"], "to_hwc_again", perm=[0, 2, 3, 1]),
    ]
    weights = {"w0": numbers(4, 3, 1, 1), "w1": numbers(4, 4, 1, 1, seed=1)}
    return model(nodes, [f32("x", 1, 4, 5, 3)], [f32("y", 1, 4, 5, 4)], weights)


MODELS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "sparse_pointwise": (sparse_pointwise, "rpi5"),
    "depthwise_classifier": (depthwise_classifier, "rpi5"),
    "residual": (residual, "browser"),
    "channels_last": (channels_last, "rpi5"),
}


def _emitted(name: str, folder: Path) -> dict[str, str]:
    make, device = MODELS[name]
    onnx.save(make(), folder / "m.onnx")
    loaded = load(folder / "m.onnx")
    if name.startswith("sparse"):
        sparsify(loaded, pattern="block:4x1", sparsity=0.75, rearrange=False)
    simplify(loaded)
    optimise(loaded)
    selection = select(lower(loaded), load_device(device).target)
    return dict(emit(selection, plan(selection), name).files)


@pytest.mark.parametrize("name", MODELS)
def test_emitted_c(name: str, tmp_path: Path, update_snapshots: bool) -> None:
    emitted = _emitted(name, tmp_path)
    changes: list[str] = []
    for file in FILES:
        stored = FOLDER / name / file
        if update_snapshots:
            stored.parent.mkdir(exist_ok=True)
            stored.write_text(emitted[file])
            continue
        before = stored.read_text() if stored.exists() else ""
        changes += difflib.unified_diff(
            before.splitlines(), emitted[file].splitlines(), f"stored {name}/{file}", "emitted now", lineterm=""
        )
    assert not changes, "\n".join([*changes, "", "if that is meant: pytest tests/snapshots --update-snapshots"])


def test_nothing_is_stored_that_is_not_compared() -> None:
    assert {p.name for p in FOLDER.iterdir() if p.is_dir() and p.name != "__pycache__"} == set(MODELS)
