"""Cast between all types: NumPy where the answer is defined, our own rule where ONNX leaves it open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from tests.ops.many import Array, Cases, floats, integers

TYPES = (np.float32, np.int64, np.int32, np.int8, np.uint8, np.bool_)


def number(dtype: Any) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def wide(dtype: Any) -> Array:
    """Every kind of value of the type; floats only such as fit into all the others."""
    if dtype is np.bool_:
        return integers(37, low=0, high=2, dtype=bool)
    if dtype is np.float32:
        x = np.concatenate([floats(100, scale=9) ** 2, [0.0, -0.0, 0.99, -0.99, 127.9, 3]])
        return x.clip(-0.9, 127.9).astype(np.float32)
    limits = np.iinfo(dtype)
    edges = np.array([limits.min, limits.max, limits.max - 1, 0, 1], dtype)
    low, high = max(limits.min, -(2**40)), min(limits.max, 2**40)
    return np.concatenate([edges, integers(60, low=low, high=high, dtype=dtype)])


def test_all_pairs(tmp_path: Path) -> None:
    cases = Cases(opset=19)
    for source in TYPES:
        for target in TYPES:
            x = wide(source)
            cases.add("Cast", x, to=number(target), expect=x.astype(target))
            cases.add("CastLike", x, np.zeros(1, target), expect=x.astype(target))
    for shape in ((), (0,), (1, 3, 0), (2, 3, 5)):
        cases.add("Cast", floats(*shape, scale=20), to=number(np.int64))
        cases.add("Cast", floats(*shape, scale=20), to=number(np.bool_))
    cases.check(tmp_path, rtol=0)


def test_floats_that_do_not_fit_saturate(tmp_path: Path) -> None:
    x = np.array(
        [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 2.0**63, -(2.0**63), 2.0**31, -(2.0**31), -(2.0**31) - 256,
         2147483520, 127.99, 128, -128.99, -129, 255.99, 256, -0.99, -1, 1e-40, 9.2233715e18],
        np.float32,
    )  # fmt: skip
    cases = Cases()
    for target in (np.int64, np.int32, np.int8, np.uint8):
        low, high = int(np.iinfo(target).min), int(np.iinfo(target).max)
        whole = [0 if np.isnan(v) else (high if v > 0 else low) if np.isinf(v) else int(v) for v in x.astype(float)]
        expect = np.array([min(max(v, low), high) for v in whole], target)
        cases.add("Cast", x, to=number(target), expect=expect)
    cases.add("Cast", x, to=number(np.bool_), expect=x != 0)
    cases.check(tmp_path, rtol=0)
