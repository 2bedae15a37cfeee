"""compare and where: every relation and choice, with all kinds of broadcasting."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgesparse.types import DTYPES, Array
from tests.kernels.cases import SIZES, SPECIAL, Case, anything, lowered, special
from tests.kernels.harness import kernel_test
from tests.kernels.test_binary import SHAPES

RELATIONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")


def few(random: np.random.Generator, dtype: str, *shape: int) -> Array:
    """Numbers of ``dtype`` that are often equal."""
    if dtype == "f32":
        return special(random, *shape)
    return random.integers(0 if dtype == "bool" else -2, 2, shape).astype(DTYPES[dtype])


@kernel_test("compare")
def test_compare(random: np.random.Generator) -> Iterator[Case]:
    """Nothing equals or orders a NaN."""
    for dtype in ("f32", "i64", "i32"):
        for op in RELATIONS:
            for left, right in SHAPES:
                yield from lowered(op, few(random, dtype, *left), few(random, dtype, *right), dtype="bool")
            for n in SIZES:
                yield from lowered(op, few(random, dtype, n), few(random, dtype, n), dtype="bool")
    for op in RELATIONS:
        yield from lowered(op, SPECIAL[:, None], SPECIAL, dtype="bool")
        for kind in (np.int64, np.int32):
            ends = np.array([np.iinfo(kind).min, -1, 0, 1, np.iinfo(kind).max], kind)
            yield from lowered(op, ends[:, None], ends, dtype="bool")
    for op in ("And", "Or", "Xor", "Equal"):
        for left, right in SHAPES:
            yield from lowered(op, few(random, "bool", *left), few(random, "bool", *right))


@kernel_test("where")
def test_where(random: np.random.Generator) -> Iterator[Case]:
    for dtype in ("f32", "i64", "i32", "u8", "bool"):
        for n in SIZES:
            a, b = anything(random, dtype, n), anything(random, dtype, n)
            yield from lowered("Where", anything(random, "bool", n), a, b, dtype=dtype)
        for c, a_shape, b_shape in (
            ((2, 3, 17), (2, 3, 17), ()), ((2, 3, 17), (), (2, 3, 17)), ((3, 1), (2, 1, 5), (5,)), ((), (4, 5), (4, 5)),
            ((17,), (2, 3, 17), (3, 1)), ((1, 6, 1, 4), (5, 6, 1, 1), (1, 1, 2, 4)),
        ):  # fmt: skip
            arrays = anything(random, dtype, *a_shape), anything(random, dtype, *b_shape)
            yield from lowered("Where", anything(random, "bool", *c), *arrays, dtype=dtype)
