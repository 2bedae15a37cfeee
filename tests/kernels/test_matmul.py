"""matmul: products of two activations, tails of every length, strides, batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.kernels.cases import SIZES, Case, direct, lowered, normal, unbounded
from tests.kernels.harness import kernel_test, sums
from tests.kernels.test_spmm import ACTIVATIONS

bound = sums(lambda case: case.attrs["k"])


def product_only(cases: list[Case]) -> Iterator[Case]:
    return (case for case in cases if case.call.op == "matmul")


@kernel_test("matmul", bound=bound)
def test_sizes(random: np.random.Generator) -> Iterator[Case]:
    for n in (*SIZES, 127, 130):
        for m in (1, 3, 4, 5, 9):
            yield from lowered("MatMul", normal(random, m, 6), normal(random, 6, n))
    for k in (*SIZES, 200):
        yield from lowered("MatMul", normal(random, 5, k), normal(random, k, 19))


@kernel_test("matmul", bound=bound)
def test_layouts(random: np.random.Generator) -> Iterator[Case]:
    """Batches that repeat, vectors, transposed operands, alpha, activations."""
    for a, b in (
        ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 17)), ((4,), (4, 9)), ((3, 4), (4,)), ((4,), (4,)),
        ((2, 1, 3, 4), (1, 5, 4, 6)), ((7, 1, 2, 3), (3, 2)), ((2, 3, 1, 4, 5), (3, 2, 5, 6)),
    ):  # fmt: skip
        yield from lowered("MatMul", normal(random, *a), normal(random, *b))
    for transpose_a in (0, 1):
        for transpose_b in (0, 1):
            x = normal(random, *((6, 5) if transpose_a else (5, 6)))
            z, c = normal(random, *((9, 6) if transpose_b else (6, 9))), normal(random, 9)
            yield from product_only(lowered("Gemm", x, z, transA=transpose_a, transB=transpose_b, alpha=0.5))
            yield from product_only(lowered("Gemm", x, z, c, transA=transpose_a, transB=transpose_b, beta=2.0))
    for act, bounds in ACTIVATIONS.items():
        yield from lowered("MatMul", normal(random, 5, 6), normal(random, 6, 21), es_act=act, **bounds)
    # rows of b and a further apart than they are long
    yield direct(
        "matmul", [normal(random, 40), normal(random, 100)], [((3, 5), "f32")], dims=(1, 1, 1), a_stride=(0, 0, 0),
        b_stride=(0, 0, 0), m=3, n=5, k=4, a_row=9, a_column=2, b_row=30, alpha=-2.0, act=0, lo=0.0, hi=0.0,
    )  # fmt: skip


@kernel_test("matmul", bound=bound)
def test_infinities(random: np.random.Generator) -> Iterator[Case]:
    for n in (1, 5, 40):
        yield from lowered("MatMul", unbounded(random, 5, 3), unbounded(random, 3, n))
