"""DequantiseWeights: constant integers times their scale become the float weight, everything else stays."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.passes.dequantise_weights import DequantiseWeights
from edgesparse.types import Array
from tests.passes.unfuse import check_same, ops, parse

RNG = np.random.default_rng(4)
INTEGERS = RNG.integers(-128, 128, (4, 3, 1, 1)).astype(np.int8)
SCALES = RNG.random(4).astype(np.float32) + 0.1
FORMS: dict[str, tuple[str, dict[str, Array]]] = {
    "per tensor": ("DequantizeLinear(q, s)", {"s": SCALES[0]}),
    "per tensor with zero point": ("DequantizeLinear(q, s, z)", {"s": SCALES[0], "z": np.int8(-3)}),
    "per channel": ("DequantizeLinear<axis = 0>(q, s)", {"s": SCALES}),
    "per channel with zero points": (
        "DequantizeLinear<axis = 0>(q, s, z)",
        {"s": SCALES, "z": np.array([1, -2, 3, 0], np.int8)},
    ),  # fmt: skip
}


@pytest.mark.parametrize("name", FORMS)
def test_becomes_the_weight(name: str) -> None:
    node, extra = FORMS[name]
    text = f"(float[1,3,5,4] x) => (float[1,4,5,4] y) {{ w = {node} y = Conv(x, w) }}"
    model = parse(text, 17, q=INTEGERS, **{k: np.asarray(v) for k, v in extra.items()})
    before = model.clone()
    assert DequantiseWeights()(model).modified
    assert ops(model) == ["Conv"]
    check_same(before, model)
    assert not DequantiseWeights()(model).modified


def test_activations_stay_quantised() -> None:
    text = "(float[1,3] x) => (float[1,3] y) { q = QuantizeLinear(x, s) y = DequantizeLinear(q, s) }"
    model = parse(text, 17, s=np.array(0.1, np.float32))
    assert not DequantiseWeights()(model).modified
    assert ops(model) == ["QuantizeLinear", "DequantizeLinear"]


@pytest.mark.parametrize("axis", [0, 1, -2])
def test_in_blocks(axis: int) -> None:
    """Of 2 along an axis of 5, and so the last one of 1 (onnxruntime takes whole blocks of int4 only)."""
    shape = [4, 5, 1] if axis else [5, 4, 1]
    values = RNG.integers(-128, 128, shape).astype(np.int8)
    blocks = list(shape)
    blocks[axis] = 3
    scale, zero = RNG.random(blocks).astype(np.float32), RNG.integers(-9, 9, blocks).astype(np.int8)
    text = f"""(float[{",".join(map(str, shape))}] x) => (float[{",".join(map(str, shape))}] y)
               {{ w = DequantizeLinear<axis = {axis}, block_size = 2>(q, s, z) y = Add(x, w) }}"""
    model = parse(text, 21, q=values, s=scale, z=zero)
    assert DequantiseWeights()(model).modified
    assert ops(model) == ["Add"]
    (weight,) = (v.const_value for k, v in model.graph.initializers.items() if k == "w_value")
    assert weight is not None
    at = [np.minimum(np.arange(n) // 2, 2) if i == axis % 3 else np.arange(n) for i, n in enumerate(shape)]
    grid = np.ix_(*at)
    assert np.array_equal(weight.numpy(), (values - zero[grid].astype(np.float32)) * scale[grid])
