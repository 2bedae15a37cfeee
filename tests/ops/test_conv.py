"""Convolutions and poolings of any geometry, pruned in any pattern, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgesparse.patterns import parse_pattern
from tests.ops.many import Cases, floats

Drawn = dict[str, Any]
NO_SHRINKING = (Phase.explicit, Phase.generate)  # every step compiles twenty layers
SLOW = [HealthCheck.too_slow]
PATTERNS = ("dense", "unstructured", "block:2x1", "block:4x1", "block:8x1", "block:4x2", "block:1x4")


@st.composite
def windows(draw: st.DrawFn) -> Drawn:
    """Attributes of a window that gives at least one output on a plane of ``size``."""
    size = [draw(st.integers(1, 24)), draw(st.integers(1, 40))]
    kernel, dilation, pads = [0, 0], [1, 1], [0, 0, 0, 0]
    for i in (0, 1):
        kernel[i] = draw(st.integers(1, 5))
        before, after = draw(st.integers(0, kernel[i] - 1)), draw(st.integers(0, kernel[i] - 1))
        room = size[i] + before + after
        kernel[i] = min(kernel[i], room)
        dilation[i] = draw(st.integers(1, 2)) if 2 * (kernel[i] - 1) + 1 <= room else 1
        pads[i], pads[2 + i] = min(before, kernel[i] - 1), min(after, kernel[i] - 1)
        if size[i] + pads[i] + pads[2 + i] < dilation[i] * (kernel[i] - 1) + 1:
            dilation[i], kernel[i] = 1, 1
            pads[i] = pads[2 + i] = 0
    strides = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    return {"size": size, "kernel": kernel, "strides": strides, "dilations": dilation, "pads": pads}


@st.composite
def convolutions(draw: st.DrawFn) -> Drawn:
    depthwise = draw(st.booleans())
    groups = draw(st.integers(1, 6)) if depthwise else draw(st.sampled_from((1, 1, 1, 2)))
    inputs = groups * (1 if depthwise else draw(st.integers(1, 9)))
    return {
        **draw(windows()), "groups": groups, "inputs": inputs, "outputs": groups * draw(st.integers(1, 9)),
        "images": draw(st.integers(1, 2)), "pattern": draw(st.sampled_from(PATTERNS)),
        "sparsity": draw(st.floats(0, 0.95)), "bias": draw(st.booleans()),
    }  # fmt: skip


@settings(max_examples=6, derandomize=True, phases=NO_SHRINKING, deadline=None, suppress_health_check=SLOW)
@given(many=st.lists(convolutions(), min_size=20, max_size=20))
def test_any_convolution(tmp_path_factory: pytest.TempPathFactory, many: list[Drawn]) -> None:
    cases = Cases()
    for seed, c in enumerate(many):
        weight = floats(c["outputs"], c["inputs"] // c["groups"], *c["kernel"], seed=seed)
        if c["pattern"] != "dense":
            weight = np.where(parse_pattern(c["pattern"]).mask(weight, c["sparsity"]), weight, np.float32(0))
        inputs = [floats(c["images"], c["inputs"], *c["size"], seed=seed + 1), weight]
        if c["bias"]:
            inputs.append(floats(c["outputs"], seed=seed + 2))
        cases.add(
            "Conv", *inputs, constant=range(1, len(inputs)), group=c["groups"], kernel_shape=c["kernel"],
            strides=c["strides"], dilations=c["dilations"], pads=c["pads"],
        )  # fmt: skip
    # sums of up to 1125 products in another order
    cases.check(tmp_path_factory.mktemp("conv"), rtol=1e-4, atol=1e-4)


@settings(max_examples=3, derandomize=True, phases=NO_SHRINKING, deadline=None, suppress_health_check=SLOW)
@given(many=st.lists(st.tuples(windows(), st.sampled_from(("MaxPool", "AveragePool"))), min_size=20, max_size=20))
def test_any_pooling(tmp_path_factory: pytest.TempPathFactory, many: list[tuple[Drawn, str]]) -> None:
    cases = Cases(opset=19)
    for seed, (c, op) in enumerate(many):
        # a dilated window may lie in the padding altogether, of which ONNX does not say what the largest element is
        dilations = [1, 1] if any(c["pads"]) else c["dilations"]
        cases.add(
            op, floats(2, 3, *c["size"], seed=seed), kernel_shape=c["kernel"], strides=c["strides"],
            dilations=dilations, pads=c["pads"],
        )  # fmt: skip
    cases.check(tmp_path_factory.mktemp("pool"), rtol=1e-5, atol=1e-6)
