"""Relu, Clip and Swish: whole numbers, bounds known at run time only, other alphas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.many import Array, Cases, floats, integers


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_whole_numbers(tmp_path: Path, dtype: type) -> None:
    """As torch writes ``i.clamp(0, 3)`` and ``relu(i)``."""
    cases, x = Cases(), integers(3, 17, dtype=dtype)
    low: Array = np.array(-2, dtype)
    high: Array = np.array(3, dtype)
    most: Array = np.array(np.iinfo(dtype).max, dtype)
    cases.add("Relu", x)
    cases.add("Clip", x)
    cases.add("Clip", x, low, high, constant=[1, 2])
    cases.add("Clip", x, None, high, constant=[2])
    cases.add("Clip", x, low, constant=[1])
    cases.add("Clip", x, low, high)
    cases.add("Clip", x, low, most, constant=[1, 2])
    cases.add("Min", x, high, constant=[1])
    cases.add("Max", low, x, constant=[0])
    cases.add("Clip", np.zeros((0, 3), dtype), low, high, constant=[1, 2])
    cases.check(tmp_path)


def test_floats(tmp_path: Path) -> None:
    cases, x = Cases(), floats(3, 17)
    low, high = np.array(-0.5, np.float32), np.array(0.25, np.float32)
    cases.add("Relu", x)
    cases.add("Clip", x, low, high, constant=[1, 2])
    cases.add("Clip", x, low, high)
    cases.add("Clip", x, low, high, constant=[1])
    cases.add("Clip", x, None, high)
    cases.add("Clip", x, high, low)  # the upper bound wins
    cases.check(tmp_path)


@pytest.mark.parametrize("alpha", [1.0, 1.702, -0.5])
def test_swish(tmp_path: Path, alpha: float) -> None:
    cases, x = Cases(24), floats(2, 33, scale=3)
    wide = x.astype(np.float64)
    cases.add("Swish", x, alpha=alpha, expect=(wide / (1 + np.exp(-np.float64(np.float32(alpha)) * wide))).astype("f4"))
    cases.check(tmp_path, rtol=1e-5, atol=1e-6)
