"""binary: arithmetic of two tensors, all kinds of broadcasting, integers that wrap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgesparse.ops.binary import BINARY
from edgesparse.types import Array
from tests.kernels.cases import SIZES, SPECIAL, Case, lowered, normal, special
from tests.kernels.harness import EPS, kernel_test

SHAPES = [
    ((1,), (1,)), ((2, 3, 4), (2, 3, 4)), ((2, 3, 4), ()), ((), (5,)), ((2, 3, 17), (17,)), ((2, 3, 17), (3, 1)),
    ((2, 1, 9), (1, 5, 1)), ((1, 6, 2, 3), (1, 6, 1, 1)), ((4, 1, 3, 1), (1, 5, 1, 16)), ((33, 1), (33, 7)),
]  # fmt: skip


def pow_bound(case: Case, expected: Sequence[Array]) -> list[Array]:
    """exp(z log x): an error of eps in log x counts |z log x| times. Below 2^-126 anything down to 0."""
    if case.attrs["kind"] != BINARY["Pow"] or case.inputs[0].dtype != np.float32:
        return [np.zeros(())]
    with np.errstate(all="ignore"):
        exponent = np.abs(np.log(np.abs(expected[0].astype(np.float64))))
    largest = float(np.abs(case.inputs[1][np.isfinite(case.inputs[1])]).max(initial=0))
    return [EPS * (8 + 8 * exponent + min(largest, 64)) * np.abs(expected[0]) + np.float32(1.2e-38)]


@kernel_test("binary", bound=pow_bound)
def test_shapes(random: np.random.Generator) -> Iterator[Case]:
    """Exact but for Pow."""
    for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Pow"):
        for left, right in SHAPES:
            for a, b in ((left, right), (right, left)):
                x, z = normal(random, *a), normal(random, *b)
                yield from lowered(op, np.abs(x) if op == "Pow" else x, z)
                low = 0 if op == "Pow" else -9
                for dtype in (np.int32, np.int64):
                    yield from lowered(
                        op, random.integers(-9, 9, a).astype(dtype), random.integers(low, 9, b).astype(dtype)
                    )
        for n in SIZES:
            yield from lowered(op, np.abs(normal(random, n)), normal(random, n))


@kernel_test("binary")
def test_special(random: np.random.Generator) -> Iterator[Case]:
    """Every pair of NaN, infinities, zeros, subnormal and huge numbers; integers that do not fit wrap."""
    for op in ("Add", "Sub", "Mul", "Div", "Min", "Max"):
        yield from lowered(op, SPECIAL[:, None], SPECIAL)
        yield from lowered(op, special(random, 77), special(random, 77))
        for dtype in (np.int32, np.int64):
            ends = np.array([np.iinfo(dtype).min + 1, -7, -2, -1, 0, 1, 2, 7, np.iinfo(dtype).max], dtype)
            yield from lowered(op, ends[:, None], ends)


@kernel_test("binary", bound=pow_bound)
def test_powers(random: np.random.Generator) -> Iterator[Case]:
    """Whole and broken exponents, negative bases."""
    x = np.concatenate([np.geomspace(1e-30, 1e30, 61), -np.geomspace(1e-3, 1e3, 7), [0, np.inf, np.nan]])
    z = np.array([-3, -2, -1, -0.5, 0, 0.25, 0.5, 1, 1.7, 2, 3, 4, 10, 2.5, np.nan])
    yield from lowered("Pow", x.astype(np.float32)[:, None], z.astype(np.float32))
    whole = np.arange(-5, 6)
    yield from lowered("Pow", whole[:, None], np.arange(0, 20))
    yield from lowered("Pow", whole[:, None].astype(np.int32), np.arange(0, 20, dtype=np.int32))
