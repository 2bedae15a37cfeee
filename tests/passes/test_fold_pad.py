"""FoldPad: zeros around an image become the padding of the convolution."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.passes.fold_pad import FoldPad
from tests.passes.unfuse import check_same, ops, parse

WEIGHT = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
PADS = np.array([0, 0, 1, 0, 0, 0, 2, 1])


def test_folds() -> None:
    text = "(float[1,3,6,5] x) => (float[1,4,7,4] y) { h = Pad(x, p) y = Conv(h, w) }"
    model = parse(text, 17, p=PADS, w=WEIGHT)
    before = model.clone()
    assert FoldPad()(model).modified
    assert ops(model) == ["Conv"]
    check_same(before, model)
    assert not FoldPad()(model).modified


REFUSED = {
    "another value": ("h = Pad(x, p, v)", {"p": PADS, "v": np.array(1, np.float32)}),
    "another mode": ('h = Pad<mode = "edge">(x, p)', {"p": PADS}),
    "channels": ("h = Pad(z, q)", {"q": np.array([0, 1, 1, 0, 0, 1, 2, 1])}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    pad, extra = REFUSED[name]
    inputs = "float[1,1,6,5] z" if name == "channels" else "float[1,3,6,5] x"
    model = parse(f"({inputs}) => (float[1,4,7,4] y) {{ {pad} y = Conv(h, w) }}", 17, w=WEIGHT, **extra)
    assert not FoldPad()(model).modified
    assert ops(model) == ["Pad", "Conv"]
