from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from edgesparse.passes.pipeline import simplify
from edgesparse.passes.weights import find_weights
from edgesparse.patterns import parse_pattern
from edgesparse.sparsity.worth import Worth, verdicts, worth
from tests import tiny_models
from tests.stages.conftest import Call
from tests.tiny_models import f32, numbers

DEVICE = "rpi5"  # nothing is measured there: predictions are the same on every machine


def network(channels: int = 64, size: int = 16) -> onnx.ModelProto:
    """1x1, depthwise and 3x3 (of stride 1 and of 2), all of ``channels``."""
    shape = (channels, channels)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "pointwise", kernel_shape=[1, 1]),
        helper.make_node("Conv", ["a", "d"], ["b"], "depthwise", pads=[1] * 4, group=channels, kernel_shape=[3, 3]),
        helper.make_node("Conv", ["b", "w3"], ["c"], "square", pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node("Conv", ["c", "s3"], ["y"], "strided", pads=[1] * 4, strides=[2, 2], kernel_shape=[3, 3]),
    ]
    weights = {
        "w1": numbers(*shape, 1, 1, seed=1), "d": numbers(channels, 1, 3, 3, seed=2),
        "w3": numbers(*shape, 3, 3, seed=3), "s3": numbers(*shape, 3, 3, seed=4),
    }  # fmt: skip
    return tiny_models.model(
        nodes, [f32("x", 1, channels, size, size)], [f32("y", 1, channels, size // 2, size // 2)], weights
    )


def pruned(text: str, *layers: str) -> tuple[ir.Model, dict[str, str]]:
    """The network with ``layers`` pruned by magnitude, to one half where the pattern leaves it open."""
    model, pattern = ir.from_proto(network()), parse_pattern(text)
    simplify(model)
    patterns = {}
    for weight in find_weights(model):
        if set(weight.nodes) & set(layers):
            array = weight.array()
            sparsity = 0.5 if pattern.fixed_sparsity is None else pattern.fixed_sparsity
            weight.replace(np.where(pattern.mask(array, sparsity), array, np.float32(0)))
            patterns[weight.name] = text
    assert len(patterns) == len(layers)
    return model, patterns


def of(text: str, *layers: str) -> Worth:
    (found,) = worth(*pruned(text, *layers), DEVICE)
    return found


def test_rows_on_their_own_gain_less_than_four_together() -> None:
    alone, shared = of("nm:2:4", "pointwise"), of("nm:2:4x4", "pointwise")
    assert shared.times > 1.5 > alone.times
    assert (alone.tall, shared.tall) == ("nm:2:4x4", "")
    assert alone.tall_us == pytest.approx(shared.us, rel=0.15)  # what is promised is what is there
    assert "as many zeros as nm:2:4x4 would be" in alone.verdict
    assert "as many zeros" not in shared.verdict and "estimated" in shared.verdict


def test_winograd_is_named_where_zeros_do_not_beat_it() -> None:
    found = of("taps:6", "square", "strided")
    assert (found.layers, found.winograd) == (2, 1)
    assert "1 of them run dense as Winograd" in found.verdict
    assert of("taps:4", "strided").times > 1.5


def test_depthwise_taps_save_no_time() -> None:
    model, patterns = pruned("taps:4", "depthwise", "strided")
    found = {one.depthwise: one for one in worth(model, patterns, DEVICE)}
    assert found[True].times == 1.0 and "no kernel skips taps" in found[True].verdict
    assert found[False].times > 1.5 and "no kernel" not in found[False].verdict


def test_a_model_that_cannot_be_compiled_is_no_error() -> None:
    model, patterns = pruned("nm:2:4", "pointwise")
    (line,) = verdicts(model, patterns, "no-such-device")
    assert "not known" in line and "no-such-device" in line


def test_sparsify_prints_the_verdict(tmp_path: Path, call: Call) -> None:
    onnx.save(network(), tmp_path / "m.onnx")
    code, _, messages = call(
        "sparsify", tmp_path / "m.onnx", "--pattern", "taps:4", "--include", "depthwise", "--device", DEVICE,
        "-o", tmp_path / "s.onnx",
    )  # fmt: skip
    assert code == 0
    text = " ".join(messages.split())
    assert "taps:4 in 1 layer, depthwise: no kernel skips taps there" in text
