"""spmv: fully connected layers of every pattern, and convolutions of a single pixel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.kernels.cases import PATTERNS, SIZES, Case, lowered, normal, pruned, unbounded
from tests.kernels.harness import kernel_test
from tests.kernels.test_spmm import ACTIVATIONS, bound, conv


@kernel_test("spmm", bound=bound, kernels=("spmv",))
def test_sizes(random: np.random.Generator) -> Iterator[Case]:
    """Every pattern with all lengths of input and of output."""
    for pattern in PATTERNS:
        for outputs in SIZES:
            w = pruned(random, pattern, outputs, 7)
            yield from lowered("Gemm", normal(random, 1, 7), w, normal(random, outputs), constants=(1, 2), transB=1)
        for inputs in (*SIZES, 200):
            w = pruned(random, pattern, 16, inputs)
            yield from lowered("MatMul", normal(random, 3, inputs), np.ascontiguousarray(w.T), constants=(1,))


@kernel_test("spmm", bound=bound, kernels=("spmv",))
def test_epilogues(random: np.random.Generator) -> Iterator[Case]:
    """Each activation, slope and residual."""
    for pattern in PATTERNS:
        for act, bounds in ACTIVATIONS.items():
            yield from conv(random, (2, 9, 1, 1), 17, pattern=pattern, es_act=act, **bounds)
        yield from conv(random, (2, 9, 1, 1), 17, pattern=pattern, residual=True)
        yield from conv(random, (2, 9, 1, 1), 17, pattern=pattern, slope=True)
        yield from conv(random, (2, 9, 1, 1), 17, pattern=pattern, residual=True, es_act="relu")
        yield from conv(random, (3, 4, 5, 5), 18, (5, 5), pattern=pattern, slope=True, residual=True)


@kernel_test("spmm", bound=bound, kernels=("spmv",))
def test_infinities(random: np.random.Generator) -> Iterator[Case]:
    """NaN and infinities come through."""
    for inputs in (1, 4, 9):
        x, w, bias = unbounded(random, 5, inputs), pruned(random, "dense", 19, inputs), normal(random, 19)
        yield from lowered("Gemm", x, w, bias, constants=(1, 2), transB=1)
        w[0, 0], w[3, 0], bias[5] = np.inf, np.nan, -np.inf
        yield from lowered("Gemm", x, w, bias, constants=(1, 2), transB=1)
