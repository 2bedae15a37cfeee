"""pool_max and pool_avg: windows of every size, border and stride, and whole planes."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from tests.kernels.cases import SIZES, Case, lowered, normal, padded, special, unbounded
from tests.kernels.harness import kernel_test, sums


def _windows(random: np.random.Generator, op: str) -> Iterator[Case]:
    for width in SIZES:
        for stride in (1, 2, 3):
            yield from lowered(
                op, normal(random, 2, 2, 4, width), kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride]
            )
    for width in (33, 50):
        yield from lowered(op, normal(random, 1, 2, width), kernel_shape=[5], strides=[3], pads=[2, 1])
        yield from lowered(op, normal(random, 1, 2, 3, width), kernel_shape=[1, 19], strides=[1, 4])
    x = normal(random, 1, 3, 9, 7)
    yield from lowered(op, x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    yield from lowered(op, x, kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 0, 1], ceil_mode=1)
    yield from lowered(op, x, kernel_shape=[9, 7])
    yield from lowered(op, x, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    yield from lowered(op, x, kernel_shape=[2, 4], auto_pad="SAME_LOWER")
    yield from lowered(op, x, kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 1, 1, 1], version=19)


def _planes(random: np.random.Generator, op: str) -> Iterator[Case]:
    for size in ((1, 1), (7, 7), (1, 300), (112, 9)):
        yield from lowered(op, normal(random, 2, 3, *size))
    for length in SIZES:
        yield from lowered(op, normal(random, 1, 2, length))


@kernel_test("pool_max")
def test_max(random: np.random.Generator) -> Iterator[Case]:
    """Exact. A NaN in the window is the result."""
    yield from _windows(random, "MaxPool")
    yield from _planes(random, "GlobalMaxPool")
    for width in (1, 8, 40):
        yield from lowered("MaxPool", special(random, 2, 2, 5, width), kernel_shape=[2, 1], strides=[1, 1])
        yield from lowered("MaxPool", unbounded(random, 1, 2, 5, width), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    yield from lowered("GlobalMaxPool", np.full((1, 2, 3, 3), -np.inf, np.float32))
    for dtype in (np.uint8, np.int8):
        limits = np.iinfo(dtype)
        for width in (1, 8, 33):
            x = random.integers(limits.min, limits.max + 1, (2, 3, 5, width)).astype(dtype)
            yield from lowered("MaxPool", x, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 1, 1, 0])
            yield from lowered("MaxPool", np.full_like(x, limits.min), kernel_shape=[2, 1])


@kernel_test("pool_avg", bound=sums(lambda case: prod((case.attrs["kernel_y"], case.attrs["kernel_x"]))))
def test_average(random: np.random.Generator) -> Iterator[Case]:
    """The mean with and without the padding; NaN and infinities stay in their windows."""
    yield from _windows(random, "AveragePool")
    yield from _planes(random, "GlobalAveragePool")
    x = normal(random, 1, 3, 9, 7)
    for ceil in (0, 1):
        for stride in (1, 2, 3):
            yield from lowered(
                "AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride],
                count_include_pad=1, ceil_mode=ceil,
            )  # fmt: skip
    for width in (1, 8, 40):
        x = unbounded(random, 2, 2, 5, width)
        yield from lowered("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        yield from lowered("GlobalAveragePool", x)


def _apart(random: np.random.Generator, op: str) -> Iterator[Case]:
    for size in ((7, 7), (13, 30), (2, 40)):
        for pitch in (1, 7, 16):
            for stride in (1, 2, 3):
                x = normal(random, 2, 3, *size)
                cases = lowered(op, x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride])
                yield from (padded(case, pitch) for case in cases)


@kernel_test("pool_max")
def test_max_of_planes_apart(random: np.random.Generator) -> Iterator[Case]:
    """Planes of x and y that lie further apart than they are long."""
    yield from _apart(random, "MaxPool")


@kernel_test("pool_avg", bound=sums(lambda case: prod((case.attrs["kernel_y"], case.attrs["kernel_x"]))))
def test_average_of_planes_apart(random: np.random.Generator) -> Iterator[Case]:
    """Planes of x and y that lie further apart than they are long."""
    yield from _apart(random, "AveragePool")
