"""Where with broadcasting against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.many import Cases, floats, integers

# condition, X, Y
SHAPES: list[tuple[tuple[int, ...], ...]] = [
    ((), (), ()), ((19,), (19,), (19,)), ((19,), (19,), ()), ((19,), (), (19,)), ((19,), (), ()), ((), (19,), (19,)),
    ((1, 19), (7, 1), (1, 1)), ((2, 3, 17), (17,), (3, 1)), ((3, 1), (2, 3, 70), (1,)),
    ((1, 1, 5, 5), (2, 3, 5, 5), ()), ((0, 3), (1, 3), (3,)), ((2, 1, 4), (3, 1), (1, 1, 4)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32, np.uint8])
def test_where(tmp_path: Path, dtype: type) -> None:
    cases = Cases()
    for c, x, y in SHAPES:
        condition = integers(*c, low=0, high=2, dtype=bool)
        if dtype is np.float32:
            left, right = floats(*x), np.where(floats(*y) > 1, np.float32(np.nan), floats(*y)).astype(np.float32)
        else:
            left, right = integers(*x, low=0, high=200, dtype=dtype), integers(*y, low=0, high=99, dtype=dtype, seed=1)
        cases.add("Where", condition, left, right)
    cases.check(tmp_path)


def test_constant_operands(tmp_path: Path) -> None:
    cases, x = Cases(), floats(4, 9)
    mask = np.tri(4, 9, dtype=bool)
    cases.add("Where", mask, x, np.array(-np.inf, np.float32), constant=[0, 2])
    cases.add("Where", mask, np.zeros((1, 9), np.float32), x, constant=[0, 1])
    cases.check(tmp_path)
