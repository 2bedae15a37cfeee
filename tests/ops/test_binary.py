"""Arithmetic of two and more tensors with broadcasting."""

from __future__ import annotations

from math import fmod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgesparse as es
from tests.ops.many import Array, Cases, floats, integers
from tests.ops.test_compare import SHAPES

SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 3.0, -3.0, 1e-40, 3e38, -3e38, 16777216.0,
     16777217.0, 8388609.0, -8388609.0, 65.0, 1.0000001, 0.99999994, 2.5, -2.5, 100.0, -101.5],
    np.float32,
)  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32])
def test_arithmetic(tmp_path: Path, dtype: Any) -> None:
    cases = Cases()
    for a, b in SHAPES:
        if dtype is np.float32:
            x, y = floats(*a), floats(*b, seed=1)
        else:
            x, y = integers(*a, low=-60, high=60, dtype=dtype), integers(*b, low=1, dtype=dtype, seed=1)
        for op in ("Add", "Sub", "Mul", "Div", "Min", "Max"):
            cases.add(op, x, y)
        if dtype is np.float32:
            cases.add("Mod", x, y, fmod=1)
        else:
            cases.add("Mod", x, y)
            cases.add("Mod", -x, y, fmod=1)
    cases.check(tmp_path, rtol=2e-7)


def test_min_and_max_of_special_values(tmp_path: Path) -> None:
    cases = Cases()
    for op in ("Min", "Max"):
        cases.add(op, SPECIAL[:, None], SPECIAL)
    cases.check(tmp_path)


def test_power(tmp_path: Path) -> None:
    cases, x = Cases(), (floats(1000, scale=1.5).astype(np.float64) ** 2 * 10).astype(np.float32)
    exponents = np.array([0.5, 2, 3, -1, -2.5, 0.1, 7.3, 1 / 3, 20, -12.7], np.float32)
    with np.errstate(all="ignore"):
        for base, exponent in (
            (SPECIAL[:, None], SPECIAL), (x[:, None], exponents),
            (-x, np.float32(3)), (-x, np.float32(0.5)), (x, floats(1000, seed=2, scale=5)),
        ):  # fmt: skip
            truth = np.power(base.astype(np.float64), np.asarray(exponent, np.float64)).astype(np.float32)
            cases.add("Pow", base, np.asarray(exponent), expect=truth)
    cases.check(tmp_path, rtol=1.2e-7, atol=1.5e-45)


def test_power_with_exponents_of_another_type(tmp_path: Path) -> None:
    cases, x = Cases(), floats(3, 5)
    for exponent in (np.array(2, np.int64), np.array([3], np.int32), np.array([[0], [1], [-2]], np.int64)):
        cases.add("Pow", x, exponent)
        cases.add("Pow", x, exponent, constant=[1])
    cases.add("Pow", x, np.array([[2.0]], np.float32), constant=[1])
    whole = integers(3, 5)
    cases.add("Pow", whole, np.array(3.0, np.float32), constant=[1])
    cases.add("Pow", whole, np.array(2, np.int32))
    cases.add("Pow", whole, np.array(2, np.int64), constant=[1])
    cases.check(tmp_path, rtol=2e-7)


def test_power_of_whole_numbers_to_a_broken_one_is_refused(tmp_path: Path) -> None:
    cases = Cases()
    cases.add("Pow", integers(3), np.array(0.5, np.float32), constant=[1])
    with pytest.raises(es.UnsupportedError, match="operands of two types, i64 and f32"):
        cases.compile(tmp_path)


def test_whole_numbers_at_the_edges(tmp_path: Path) -> None:
    """Nothing traps: by zero everything is 0, the quotient that does not fit wraps."""
    cases = Cases(opset=18)
    for dtype in (np.int64, np.int32):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        x = np.array([low, low, 7, -7, 7, -7, 0, high], dtype)
        y = np.array([-1, 0, 0, 2, -2, -2, 5, low], dtype)
        cases.add("Div", x, y, expect=np.array([low, 0, 0, -3, -3, 3, 0, 0], dtype))
        cases.add("Mod", x, y, expect=np.array([0, 0, 0, 1, -1, -1, 0, -1], dtype))
        cases.add("Mod", x, y, fmod=1, expect=np.array([0, 0, 0, -1, 1, -1, 0, high], dtype))
        with np.errstate(all="ignore"):
            cases.add("Add", x, x, expect=x + x)
            cases.add("Mul", x, x, expect=x * x)
        exponent = np.array([1, 2, 0, 3, -1, -2, 0, 2], dtype)
        cases.add("Pow", x, exponent, expect=np.array([low, 0, 1, -343, 0, 0, 1, 1], dtype))
    cases.check(tmp_path)


def test_remainders_are_exact(tmp_path: Path) -> None:
    cases = Cases(opset=28)
    x = np.concatenate([SPECIAL, (10.0 ** np.random.default_rng(0).uniform(-44, 38, 300)).astype(np.float32)])
    x = np.concatenate([x, -x[::3]])
    a, b = np.broadcast_arrays(x[:, None], x)
    with np.errstate(all="ignore"):
        cases.add("Mod", a.copy(), b.copy(), fmod=1, expect=np.fmod(a.astype(np.float64), b).astype(np.float32))
        expect = np.mod(a.astype(np.float64), b)
        cases.add("Mod", a.copy(), b.copy(), expect=expect.astype(np.float32))
    cases.check(tmp_path, rtol=1.2e-7)
    assert fmod(-7.0, 3.0) == -1.0  # what NumPy's fmod stands on


def test_bits_and_slopes(tmp_path: Path) -> None:
    cases, x = Cases(), floats(2, 3, 4, 5)
    for dtype in (np.int64, np.int32):
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
            cases.add(op, integers(3, 1, dtype=dtype), integers(7, dtype=dtype, seed=1))
        cases.add("BitwiseNot", integers(3, 9, dtype=dtype))
    for slope in ((3, 1, 1), (1,), (), (2, 3, 4, 5), (5,)):
        cases.add("PRelu", x, floats(*slope, seed=2))
        cases.add("PRelu", x, floats(*slope, seed=2), constant=[1])
    cases.check(tmp_path)


def test_variadic(tmp_path: Path) -> None:
    cases = Cases()
    parts = [floats(2, 1, 5), floats(3, 1, seed=1), floats(5, seed=2), floats(seed=3)]
    for op in ("Sum", "Mean", "Min", "Max"):
        for count in (1, 2, 3, 4):
            cases.add(op, *parts[:count])
    cases.check(tmp_path, rtol=3e-7, atol=1e-7)


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_broadcasting(tmp_path: Path, data: st.DataObject) -> None:
    """Ten pairs of shapes a model; those that need more than four loops are not drawn."""
    cases = Cases()
    for index in range(10):
        rank = data.draw(st.integers(0, 4))
        full = [data.draw(st.integers(0 if index == 9 else 1, 6)) for _ in range(rank)]

        def side(full: list[int] = full, index: int = index) -> Array:
            shape = [n if data.draw(st.booleans()) else 1 for n in full]
            return floats(*shape[data.draw(st.integers(0, len(shape))) :], seed=index)

        cases.add(data.draw(st.sampled_from(["Add", "Sub", "Mul", "Max"])), side(), side())
    cases.check(tmp_path, rtol=2e-7)
