"""probe_fma and probe_read: they do all that they are timed for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgesparse.types import Array
from tests.kernels.cases import Case, direct
from tests.kernels.harness import EPS, kernel_test


def few(case: Case, expected: Sequence[Array]) -> list[Array]:
    """The sums have met when each was rounded; then 384 of them, or half of that, are added up."""
    return [np.float32(400 * EPS) * np.abs(expected[0])]


@kernel_test("probe_fma", bound=few)
def test_probe_fma(random: np.random.Generator) -> Iterator[Case]:
    for factor, term in ((0.5, 0.5), (0.25, 3.0), (-0.5, 1.0)):
        yield direct("probe_fma", [np.array([factor, term], np.float32)], [((1,), "f32")], rounds=40)


def sums(case: Case, expected: Sequence[Array]) -> list[Array]:
    """Each of n terms is rounded at most n times."""
    n = case.attrs["floats"] * case.attrs["rounds"]
    return [np.float32(EPS * n) * case.reference([np.abs(x) for x in case.inputs])[0]]


@kernel_test("probe_read", bound=sums)
def test_probe_read(random: np.random.Generator) -> Iterator[Case]:
    for size, floats, rounds in ((512, 512, 1), (1024, 512, 3), (1536, 1536, 2), (512, 0, 4), (512, 512, 0)):
        x = random.normal(size=size).astype(np.float32) + 1
        yield direct("probe_read", [x], [((1,), "f32")], floats=floats, rounds=rounds)
