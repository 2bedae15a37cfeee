"""binary: arithmetic of two tensors, all kinds of broadcasting, integers that wrap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgesparse.ops.binary import BINARY
from edgesparse.types import Array
from tests.kernels.cases import SIZES, SPECIAL, Case, lowered, normal, special
from tests.kernels.harness import kernel_test

SHAPES = [
    ((1,), (1,)), ((2, 3, 4), (2, 3, 4)), ((2, 3, 4), ()), ((), (5,)), ((2, 3, 17), (17,)), ((2, 3, 17), (3, 1)),
    ((2, 1, 9), (1, 5, 1)), ((1, 6, 2, 3), (1, 6, 1, 1)), ((4, 1, 3, 1), (1, 5, 1, 16)), ((33, 1), (33, 7)),
]  # fmt: skip


def bound(case: Case, expected: Sequence[Array]) -> list[Array]:
    """Exact but for Pow (2 ulp) and Mod (1 ulp) of floats; powers below 2^-126 may be anything down to 0."""
    ulp = {"Pow": 2.0, "Mod": 1.0}.get(next(k for k, v in BINARY.items() if v == case.attrs["kind"]), 0.0)
    if case.inputs[0].dtype != np.float32 or not ulp:
        return [np.zeros(())]
    return [ulp * np.spacing(np.abs(expected[0])) + np.float32(1.2e-38)]


@kernel_test("binary", bound=bound)
def test_shapes(random: np.random.Generator) -> Iterator[Case]:
    """Everything, each operand on each side."""
    for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Mod", "Pow"):
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


@kernel_test("binary", bound=bound)
def test_special(random: np.random.Generator) -> Iterator[Case]:
    """Every pair of NaN, infinities, zeros, subnormal and huge numbers; integers that do not fit wrap."""
    for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Mod", "PRelu"):
        # a slope may not be larger than what it multiplies
        column = np.repeat(SPECIAL[:, None], len(SPECIAL), axis=1) if op == "PRelu" else SPECIAL[:, None]
        yield from lowered(op, column, SPECIAL)
        yield from lowered(op, special(random, 77), special(random, 77))
    yield from lowered("Mod", SPECIAL[:, None], SPECIAL, fmod=1)
    for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Mod", "BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        for dtype in (np.int32, np.int64):
            ends = np.array([np.iinfo(dtype).min, -7, -2, -1, 0, 1, 2, 7, np.iinfo(dtype).max], dtype)
            yield from lowered(op, ends[:, None], ends)


@kernel_test("binary", bound=bound)
def test_powers(random: np.random.Generator) -> Iterator[Case]:
    """Whole and broken exponents, negative bases."""
    x = np.concatenate([np.geomspace(1e-30, 1e30, 61), -np.geomspace(1e-3, 1e3, 7), [0, np.inf, np.nan]])
    z = np.array([-3, -2, -1, -0.5, 0, 0.25, 0.5, 1, 1.7, 2, 3, 4, 10, 2.5, np.nan])
    yield from lowered("Pow", x.astype(np.float32)[:, None], z.astype(np.float32))
    whole = np.arange(-5, 6)
    for dtype in (np.int32, np.int64):
        yield from lowered("Pow", whole[:, None].astype(dtype), np.arange(-5, 70, dtype=dtype))
        yield from lowered("Mod", whole[:, None].astype(dtype), whole.astype(dtype), fmod=1)
