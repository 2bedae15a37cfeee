"""`size`: every byte of weights.bin is somewhere in the table; and weights that are unpacked are those of the model."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import edgesparse as es
from edgesparse.bands import in_bands
from edgesparse.bundle import layers
from edgesparse.compile import lowered
from edgesparse.compiled import compiled
from edgesparse.devices import load_device
from edgesparse.errors import InputError
from edgesparse.select import select
from edgesparse.size import size
from edgesparse.stored import weights_bin
from edgesparse.types import Array
from edgesparse.unpacked import weight_of
from tests.conftest import PROJECT
from tests.tiny_models import f32, model, numbers

from .conftest import Call

DIGITS = PROJECT / "examples" / "digits.onnx"
TARGETS = (("host", "f32"), ("rpi5", "f32"), ("pixel-8", "f16"), ("browser", "f32"))


def pointwise(weight: Array) -> onnx.ModelProto:
    """y = conv1x1(x) of (channels, inputs) weights on 6x7 pixels."""
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv")]
    inputs = [f32("x", 1, weight.shape[1], 6, 7)]
    return model(
        nodes, inputs, [f32("y", 1, weight.shape[0], 6, 7)], {"w": weight[:, :, None, None], "b": numbers(len(weight))}
    )  # fmt: skip


@pytest.mark.parametrize(("device", "precision"), TARGETS)
@pytest.mark.parametrize("name", ["kws/kws_ref_model.onnx", "resnet8/resnet8_cifar10.onnx", "vww/vww_96.onnx"])
def test_every_byte_is_counted(name: str, device: str, precision: str, data_dir: Path) -> None:
    found = size(data_dir / name, device, precision)
    assert found.total == len(compiled(data_dir / name, device, precision).weights) > 10_000
    assert sum(x.values for x in found.layers) > 0.4 * found.total
    assert all(0 <= x.zeros <= x.values and min(x.indices, x.bias, x.padding, x.dense) >= 0 for x in found.layers)


def test_a_bundle_says_the_same_as_its_model(tmp_path: Path) -> None:
    bundle = es.compile(es.load(DIGITS), "host", tmp_path / "digits.edge")
    there, here = size(bundle), size(DIGITS, "host")
    assert there.total == (bundle / "weights.bin").stat().st_size and there.layers == here.layers
    assert there.name == "digits", "the name of the bundle, not of one of its files"
    assert there.weights_gzip == len(gzip.compress((bundle / "weights.bin").read_bytes(), 6, mtime=0))


def test_by_hand(tmp_path: Path) -> None:
    """8x12 weights in blocks of 4 rows, of which 5 of 24 are kept."""
    weight = np.zeros((8, 12), np.float32)
    for block, column in ((0, 1), (0, 5), (1, 2), (1, 3), (1, 11)):
        weight[4 * block : 4 * block + 4, column] = numbers(4, seed=column)
    weight[4, 2] = 0  # within a kept block
    onnx.save(pointwise(weight), tmp_path / "m.onnx")
    (layer,) = size(tmp_path / "m.onnx", "rpi5").layers
    assert layer.kernel.startswith("es_spmm_f32_4x") and layer.pattern == "block:4x1"
    assert layer.values == 4 * 5 * 4 and layer.zeros == 4
    assert layer.indices == 4 * 5 + 4 * 3, "an offset for each of 5 blocks, and where 2 blocks start and end"
    assert layer.bias == 4 * 8
    assert layer.padding == 4 * 8 + (-80 % 64) + (-(20 + 32) % 64) + (-12 % 64) + (-32 % 64)
    assert layer.dense == 4 * (8 * 12 + 8) and layer.total == sum((80, 32, 32, layer.padding))
    plain = np.concatenate([weight.ravel(), numbers(8)]).astype(np.float32).tobytes()
    assert layer.dense_gzip == len(gzip.compress(plain, 6, mtime=0))


def test_equal_layers_are_stored_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["y"], "one"), helper.make_node("Conv", ["y", "w", "b"], ["z"], "two")
    ]  # fmt: skip
    weights = {"w": numbers(8, 8, 1, 1), "b": numbers(8)}
    onnx.save(model(nodes, [f32("x", 1, 8, 5, 5)], [f32("z", 1, 8, 5, 5)], weights), tmp_path / "m.onnx")
    one, two = size(tmp_path / "m.onnx").layers
    assert one.total > 0 == two.total and one.dense == two.dense > 0


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["host", "rpi5", "browser"]), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 5]),
    st.integers(1, 2), st.floats(0, 1), st.integers(1, 4), st.integers(0, 9),
)  # fmt: skip
def test_unpacked_weights_are_those_of_the_model(
    device: str, channels: int, inputs: int, kernel: int, stride: int, zeros: float, rows: int, seed: int
) -> None:
    """Blocks, Winograd, the entry, single pixels: whatever kernel the device takes."""
    random = np.random.default_rng(seed)
    weight = numbers(channels, inputs, kernel, kernel, seed=seed)
    blocks = random.random((-(-channels // rows), *weight.shape[1:])) >= zeros
    weight *= blocks.repeat(rows, axis=0)[:channels]
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", strides=[stride] * 2, pads=[kernel // 2] * 4)
    proto = model([node], [f32("x", 1, inputs, 12, 12)], [f32("y", 1, channels, "h", "v")], {"w": weight})
    target = load_device(device).target
    graph, _ = lowered(ir.from_proto(proto), target)
    selection = in_bands(select(graph, target), target)
    blob, _ = weights_bin(selection)
    (found,) = [x for x in layers(selection, target) if x.weight_shape]
    unpacked = weight_of(found, blob)
    assert unpacked is not None
    slack = 1e-5 if "winograd" in found.kernel else 0.0
    np.testing.assert_allclose(unpacked.reshape(weight.shape), weight, atol=slack, rtol=0)


@pytest.mark.parametrize("device", ["host", "rpi5", "browser"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (7, 1)])
@pytest.mark.parametrize("taps", [None, 4])
def test_unpacked_depthwise_weights(device: str, kernel: int, stride: int, taps: int | None) -> None:
    weight = numbers(13, 1, kernel, kernel)
    if taps:  # of each channel
        weight.reshape(13, -1)[:, taps:] = 0
    node = helper.make_node("Conv", ["x", "w"], ["y"], "dw", strides=[stride] * 2, pads=[kernel // 2] * 4, group=13)
    proto = model([node], [f32("x", 1, 13, 12, 12)], [f32("y", 1, 13, "h", "v")], {"w": weight})
    found = compiled(ir.from_proto(proto), device)
    (layer,) = [x for x in found.layers if x.weight_shape]
    unpacked = weight_of(layer, found.weights)
    assert unpacked is not None
    np.testing.assert_array_equal(unpacked.reshape(weight.shape), weight)


def test_every_kind_of_kernel_is_unpacked(data_dir: Path) -> None:
    seen = set()
    for name in ("resnet8/resnet8_cifar10.onnx", "vww/vww_96.onnx", "kws/kws_ref_model.onnx"):
        for layer in (found := compiled(data_dir / name)).layers:
            if layer.weight_shape:
                weight = weight_of(layer, found.weights)
                assert weight is not None and weight.shape == layer.weight_shape
                assert np.count_nonzero(weight) / weight.size == pytest.approx(1 - layer.zeros, abs=1e-4)
                seen.add(layer.kernel.split("_")[1])
    assert seen >= {"spmm", "depthwise", "spmv", "winograd"}


def test_the_command(call: Call, tmp_path: Path) -> None:
    bundle = es.compile(es.load(DIGITS), "host", tmp_path / "digits.edge")
    code, out, _ = call("size", bundle)
    assert code == 0 and "dense+gzip" in out and "as dense f32" in out
    code, out, _ = call("size", DIGITS, "--json", "--device", "rpi5")
    document = json.loads(out)
    assert document["device"] == "rpi5" and document["total"] == sum(x["total"] for x in document["layers"])


def test_a_bundle_of_an_older_version(tmp_path: Path, call: Call) -> None:
    bundle = es.compile(es.load(DIGITS), "host", tmp_path / "old.edge")
    manifest = json.loads((bundle / "manifest.json").read_text())
    for layer in manifest["layers"]:
        for key in ("reads", "writes", "weight_shape", "plane_bytes", "tap_bytes", "stored"):
            del layer[key]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="older version"):
        size(bundle)
    assert call("explain", bundle)[0] == 0, "what does not need them reads it"


def test_damaged_weights_are_refused(tmp_path: Path, call: Call) -> None:
    bundle = es.compile(es.load(DIGITS), "host", tmp_path / "bad.edge")
    data = bytearray((bundle / "weights.bin").read_bytes())
    data[5] ^= 1
    (bundle / "weights.bin").write_bytes(bytes(data))
    code, _, err = call("size", bundle)
    assert code == 4 and "weights.bin is damaged" in err
