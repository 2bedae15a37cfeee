"""unary, not, classify: functions of one tensor, over everyday numbers and over the ends of the range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgesparse.ops.unary import UNARY
from edgesparse.types import Array
from tests.kernels.cases import SIZES, SPECIAL, Case, anything, lowered, normal, special
from tests.kernels.harness import kernel_test

TINY = float(np.finfo(np.float32).tiny)
EXACT = ("Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Sqrt", "Reciprocal", "ThresholdedRelu")
ALPHA = {"Selu": (1.6732631921768188,), "Elu": (1.0, 0.25), "Celu": (1.0, 0.5, 3.0), "ThresholdedRelu": (1.0, 0.0)}


def bound(case: Case, expected: Sequence[Array]) -> list[Array]:
    """IEEE operations and roundings exactly, the others 4 ulp; below 2^-126 anything down to 0."""
    name = list(UNARY)[case.attrs["kind"]]
    return [np.zeros(()) if name in EXACT else 4 * np.spacing(np.abs(expected[0])) + TINY]


def unary(op: str, x: Array) -> Iterator[Case]:
    for alpha in ALPHA.get(op, (0.5,)):  # an attribute that the others do not look at
        yield from lowered(op, x, alpha=alpha)


@kernel_test("unary", bound=bound)
def test_functions(random: np.random.Generator) -> Iterator[Case]:
    for op in UNARY:
        for n in SIZES:
            yield from unary(op, normal(random, n) * 3)
        yield from unary(op, SPECIAL)
        yield from unary(op, special(random, 3, 50))
        yield from unary(op, np.linspace(-30, 30, 1201, dtype=np.float32))
        for sign in (1, -1):
            yield from unary(op, np.geomspace(1e-45, 3e38, 800).astype(np.float32) * sign)
    half = np.concatenate([np.arange(-5, 5, 0.25), 2.0**23 + np.arange(-2, 3, 0.5), [0.49999997, -0.49999997]])
    for op in ("Floor", "Ceil", "Round"):
        yield from unary(op, half.astype(np.float32))


@kernel_test("unary")
def test_integers(random: np.random.Generator) -> Iterator[Case]:
    for op in ("Abs", "Neg", "Sign"):
        for dtype in (np.int32, np.int64):
            for n in SIZES:
                yield from lowered(op, random.integers(-3, 4, n).astype(dtype))
            limits = np.iinfo(dtype)
            yield from lowered(op, np.array([limits.min + 1, limits.max, -1, 0, 1], dtype))


@kernel_test("not")
def test_not(random: np.random.Generator) -> Iterator[Case]:
    for n in SIZES:
        yield from lowered("Not", anything(random, "bool", n))


@kernel_test("classify")
def test_classify(random: np.random.Generator) -> Iterator[Case]:
    for n in SIZES:
        yield from lowered("IsNaN", special(random, n), dtype="bool")
        for positive, negative in ((1, 1), (0, 1), (1, 0), (0, 0)):
            yield from lowered(
                "IsInf", special(random, n), dtype="bool", detect_positive=positive, detect_negative=negative
            )  # fmt: skip
