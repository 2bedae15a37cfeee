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
        "DequantizeLinear<axis = 0>(q, s, z)", {"s": SCALES, "z": np.array([1, -2, 3, 0], np.int8)}
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
