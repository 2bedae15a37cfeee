"""Comparisons and logic with broadcasting against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ops.many import Array, Cases, floats, integers

# pairs of shapes: the same, scalars, rows, columns, both sides stretched, no elements
SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((), ()), ((33,), (33,)), ((33,), ()), ((1,), (5,)), ((2, 3, 17), (2, 3, 17)), ((2, 3, 17), (17,)),
    ((2, 3, 17), (3, 1)), ((3, 1), (1, 70)), ((5, 1, 3), (2, 1)), ((2, 3, 4, 5), (2, 1, 4, 1)), ((0, 3), (3,)),
    ((2, 1, 3, 1, 5), (1, 4, 3, 1, 5)), ((1, 1), (1, 1, 1)),
]  # fmt: skip


def some(shape: tuple[int, ...], dtype: Any, seed: int) -> Array:
    """Few different values, so that equal ones are frequent; NaN, infinities and both zeros among floats."""
    if np.dtype(dtype).kind == "f":
        values = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.5, 1e-40], dtype)
        return np.asarray(np.random.default_rng(seed).choice(values, shape))
    return integers(*shape, low=0 if dtype is bool else -2, high=2, dtype=dtype, seed=seed)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32])
def test_comparisons(tmp_path: Path, dtype: Any) -> None:
    cases = Cases()
    for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        for a, b in SHAPES:
            cases.add(op, some(a, dtype, 1), some(b, dtype, 2))
            cases.add(op, some(b, dtype, 3), some(a, dtype, 4))
    cases.check(tmp_path)


def test_large_numbers_are_compared_exactly(tmp_path: Path) -> None:
    cases, x = Cases(), np.array([2**62, 2**62 + 1, -(2**62), 2**63 - 1], np.int64)
    for op in ("Equal", "Less", "GreaterOrEqual"):
        cases.add(op, x, x[::-1].copy())
        cases.add(op, x, np.array(2**62, np.int64), constant=[1])
    cases.check(tmp_path)


def test_logic(tmp_path: Path) -> None:
    cases = Cases()
    for op in ("And", "Or", "Xor", "Equal"):
        for a, b in SHAPES:
            cases.add(op, some(a, bool, 1), some(b, bool, 2))
    cases.check(tmp_path)


def test_more_loops_than_a_kernel_has(tmp_path: Path) -> None:
    """Operands are written out in full first; also in Add and Where."""
    cases = Cases()
    a, b = floats(2, 1, 3, 1, 2, 1), floats(1, 2, 1, 3, 1, 2, seed=1)
    for op in ("Less", "Equal", "Add", "Max"):
        cases.add(op, a, b)
        cases.add(op, b, a, constant=[0])
    cases.add("Where", a > 0, b, floats(2, 1, 3, 1, 2, 2, seed=2))
    cases.add("Sub", floats(2, 1, 2, 1, 2, 1), floats(2, 1, 2, 1, 2))
    cases.check(tmp_path)
