"""copy, gather and fill: rearrangements of elements of every size, exactly."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from tests.kernels.cases import SIZES, Case, anything, direct, lowered, normal
from tests.kernels.harness import kernel_test

GATHERED = ("f32", "i64", "u8", "bool", "i32")
TYPES = (*GATHERED, "f16")

FILL = {"f32": 0x80000001, "f16": 0x8001, "i64": -2, "u8": 200, "bool": 1, "i32": 0xFFFFFFFE}


def only(op: str, cases: list[Case]) -> Iterator[Case]:
    return (case for case in cases if case.call.op == op)


@kernel_test("copy")
def test_transpose(random: np.random.Generator) -> Iterator[Case]:
    """Planes of every size, and every order of four dimensions."""
    for dtype in TYPES:
        for rows in (1, 2, 3, 4, 5, 8, 9, 17):
            for columns in (2, 4, 7, 15, 16, 33):
                yield from lowered("Transpose", anything(random, dtype, rows, columns), perm=[1, 0])
        for order in permutations(range(4)):
            yield from lowered("Transpose", anything(random, dtype, 2, 3, 4, 5), perm=list(order))
        yield from lowered("Transpose", anything(random, dtype, 2, 3, 2, 2, 3, 2), perm=[5, 3, 1, 4, 2, 0])


@kernel_test("copy")
def test_parts(random: np.random.Generator) -> Iterator[Case]:
    """Concat, Split, Slice (backwards too), Expand, Tile, depth and space: what is not copied is left alone."""
    for dtype in TYPES:
        for axis in (0, 1, 2):
            parts = [anything(random, dtype, *(n if i == axis else 3 for i in range(3))) for n in (1, 4, 17)]
            yield from lowered("Concat", *parts, axis=axis)
            x = anything(random, dtype, *(9 if i == axis else 4 for i in range(3)))
            yield from lowered("Split", x, np.array([2, 3, 4]), constants=(1,), axis=axis, outputs=3)
        x = anything(random, dtype, 5, 6, 33)
        for starts, ends, steps in (([0, 1], [5, 5], [1, 1]), ([4, 30], [-9, 2], [-2, -3]), ([1, 3], [9, 99], [2, 5])):
            arrays = [np.array(v) for v in (starts, ends, [0, 2], steps)]
            yield from lowered("Slice", x, *arrays, constants=(1, 2, 3, 4))
        yield from lowered("Expand", anything(random, dtype, 3, 1, 4), np.array([2, 3, 5, 4]), constants=(1,))
        yield from lowered("Expand", anything(random, dtype, 3, 1), np.array([3, 17]), constants=(1,))
        yield from lowered("Tile", anything(random, dtype, 2, 3, 4), np.array([2, 3, 2]), constants=(1,))
        for mode in ("DCR", "CRD"):
            yield from lowered("DepthToSpace", anything(random, dtype, 2, 8, 3, 5), blocksize=2, mode=mode)
        yield from lowered("SpaceToDepth", anything(random, dtype, 1, 2, 6, 4), blocksize=2)
    for n in SIZES:
        yield from lowered("Concat", normal(random, 2, n), normal(random, 2, 3), axis=1)


@kernel_test("fill", "copy")
def test_pad(random: np.random.Generator) -> Iterator[Case]:
    """A fill, then a copy into the middle of it."""
    for dtype in TYPES:
        x, value = anything(random, dtype, 2, 3, 5), anything(random, dtype, 1)
        for pads in ([0, 0, 1, 0, 0, 2], [1, 2, 0, 3, 0, 1], [-1, 0, 2, 0, -1, -3], [0, -1, 0, 0, -1, 0]):
            yield from lowered("Pad", x, np.array(pads), value, constants=(1, 2))
        for n in SIZES:
            yield direct("fill", [], [((n,), dtype)], size=n, value=FILL[dtype], label=f"{dtype} {n}")


@kernel_test("gather")
def test_gather(random: np.random.Generator) -> Iterator[Case]:
    """Rows by index; negative ones count from the end, wrong ones are clamped."""
    for dtype in GATHERED:
        for inner in (1, 2, 7, 16, 33):
            index = np.array([4, -1, 0, 2, 2, -5, 99, -99])
            for kind in (np.int64, np.int32):
                yield from lowered("Gather", anything(random, dtype, 2, 5, inner), index.astype(kind), axis=1)
        yield from lowered("Gather", anything(random, dtype, 9), np.array([[3, 1, 8]]), constants=(1,), axis=0)
        x = anything(random, dtype, 1, 2, 5, 6)
        yield from only("gather", lowered("Pad", x, np.array([0, 0, 2, 1, 0, 0, 1, 3]), constants=(1,), mode="reflect"))


@kernel_test("assign")
def test_assign(random: np.random.Generator) -> Iterator[Case]:
    """Bytes as they are."""
    for dtype in TYPES:
        for n in SIZES:
            yield direct("assign", [anything(random, dtype, n)], [((n,), dtype)], label=f"{dtype} {n}")
