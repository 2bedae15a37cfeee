"""reduce, arg and cumsum: along rows and columns, one to many, with NaN, infinities, equal elements, whole numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edgesparse.ops.reduce import DIVIDE, LOG, LOG_SUM_EXP, MAX, MIN, PROD, REDUCE, SQRT
from edgesparse.types import Array
from tests.kernels.cases import SIZES, Case, lowered, normal, padded, special, unbounded
from tests.kernels.harness import EPS, kernel_test, ulps

SHAPES = [((1, 1), 1), ((3, 1, 4), 1), ((2, 17, 3), 1), ((2, 9, 33), 1), ((5, 40), 0), ((2, 128, 5), 1), ((1, 300), 1)]
WHOLE = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSumSquare", "ReduceL1")


def bound(case: Case, expected: Sequence[Array]) -> list[Array]:
    """Sums: blocks of 128 elements as they come, the sums of the blocks exactly: eps 136 sum |x| at most."""
    a, y, x = case.attrs, np.abs(expected[0].astype(np.float64)), np.abs(case.inputs[0])
    if a["kind"] in (MAX, MIN) or x.dtype.kind != "f":
        return [np.zeros(())]
    if a["kind"] == PROD:
        return [EPS * a["n"] * y + np.float32(1.2e-38)]
    terms = min(a["n"], 128) + 8
    if a["kind"] == LOG_SUM_EXP:  # the exponent x - max has an error of eps |x|
        return [EPS * (terms + 2 * np.max(x, initial=0) + 2 * y)]
    size = case.reference([x], finish=0)[0].astype(np.float64)
    error = EPS * terms * size
    if a["finish"] == DIVIDE:
        error = error / a["divisor"]
    if a["finish"] == SQRT:
        error = error / np.maximum(y, 1e-30)
    if a["finish"] == LOG:  # of positive numbers
        error = error / size
    return [error + 2 * np.spacing(y.astype(np.float32))]


def over(op: str, x: Array, axis: int, **attrs: Any) -> list[Case]:
    return lowered(op, x, np.array([axis]), constants=(1,), **attrs)


@kernel_test("reduce", bound=bound)
def test_floats(random: np.random.Generator) -> Iterator[Case]:
    for op in REDUCE:
        positive = op == "ReduceLogSum"
        for shape, axis in [*(((2, n), 1) for n in SIZES), *(((3, n), 0) for n in SIZES), *SHAPES]:
            x = normal(random, *shape)
            yield from over(op, np.abs(x) + 1 if positive else x, axis)
        x = np.abs(normal(random, 3, 4, 5, 6)) + np.float32(0.5)
        yield from lowered(op, x, np.array([0, 2]), constants=(1,), keepdims=0)
        yield from lowered(op, x)
        for n in (3, 8, 37):
            yield from over(op, np.abs(unbounded(random, 5, n)), 1)
            yield from over(op, np.abs(unbounded(random, n, 37)), 0)
        for axes in ([2, 3], [2], [3]):  # planes that lie apart, as after a convolution; their padding is not read
            x = np.abs(normal(random, 2, 3, 7, 7))
            cases = [padded(case, 15) for case in lowered(op, x, np.array(axes), constants=(1,)) if axes != [3]]
            for case in cases[:1]:
                case.values[case.call.inputs[0]][..., 49:] = np.nan
                yield case
    for n in (1, 5, 19, 64):
        for op in ("ReduceMax", "ReduceMin"):
            yield from over(op, special(random, 4, n), 1)
            yield from over(op, special(random, n, 40), 0)
        for op in ("ReduceSum", "ReduceMean", "ReduceL1", "ReduceLogSumExp"):
            yield from over(op, unbounded(random, 4, n), 1)
    yield from over("ReduceLogSumExp", np.array([[-np.inf, -np.inf], [1e4, 1e4], [-1e4, -1e4]], np.float32), 1)
    yield from over("ReduceSum", np.full((1, 70001), 0.1, np.float32), 1)


@kernel_test("reduce")
def test_whole_numbers(random: np.random.Generator) -> Iterator[Case]:
    """Sums and products wrap, means are cut towards zero."""
    for op in WHOLE:
        for dtype in (np.int32, np.int64):
            for shape, axis in [*(((2, n), 1) for n in SIZES), *SHAPES]:
                yield from over(op, random.integers(-9, 9, shape).astype(dtype), axis)


@kernel_test("arg")
def test_arg(random: np.random.Generator) -> Iterator[Case]:
    """The first or last of equal elements; a NaN is beyond everything."""
    for op in ("ArgMax", "ArgMin"):
        for last in (0, 1):
            for shape, axis in [*(((2, n), 1) for n in SIZES), *(((3, n), 0) for n in SIZES), *SHAPES]:
                kinds = (special(random, *shape), normal(random, *shape))
                whole = random.integers(-2, 3, shape)
                for x in (*kinds, whole.astype(np.int32), whole.astype(np.int64), whole.astype(np.float32)):
                    yield from lowered(op, x, axis=axis, select_last_index=last, dtype="i64")


@kernel_test(
    "cumsum", bound=lambda case, expected: ulps(1)(case, expected) if case.inputs[0].dtype == np.float32 else [0]
)
def test_cumsum(random: np.random.Generator) -> Iterator[Case]:
    """Added up in double: within an ulp."""
    for shape, axis in [*(((2, n), 1) for n in SIZES), *SHAPES]:
        for exclusive in (0, 1):
            for reverse in (0, 1):
                whole = random.integers(-9, 9, shape)
                for x in (normal(random, *shape), unbounded(random, *shape), whole, whole.astype(np.int32)):
                    yield from lowered(
                        "CumSum", x, np.array(axis), constants=(1,), exclusive=exclusive, reverse=reverse
                    )  # fmt: skip
