"""softmax: along the last axis and along others, from one to many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgesparse.types import Array
from tests.kernels.cases import SIZES, Case, lowered, normal
from tests.kernels.harness import EPS, kernel_test


def bound(case: Case, expected: Sequence[Array]) -> list[Array]:
    """y is exp(d) / sum: the exponent d = x - max has an error of half an ulp, and n terms are added up."""
    x, a = case.inputs[0].astype(np.float64), case.attrs
    cube = x.reshape(a["outer"], a["n"], a["inner"])
    distance = np.abs(cube - cube.max(axis=1, keepdims=True)).reshape(x.shape)
    relative = EPS * (distance + a["n"] + 8)
    return [relative if a["log"] else relative * expected[0] + np.float32(1e-44)]


@kernel_test("softmax", bound=bound)
def test_softmax(random: np.random.Generator) -> Iterator[Case]:
    for op in ("Softmax", "LogSoftmax"):
        for n in (*SIZES, 1000):
            yield from lowered(op, normal(random, 2, n) * 10, axis=-1)
        for shape in ((1, 1), (3, 1, 4), (2, 17, 3), (1, 21, 16), (2, 3, 33)):
            yield from lowered(op, normal(random, *shape), axis=1)
        yield from lowered(op, normal(random, 4, 9) * np.float32(1e4), axis=1)
        yield from lowered(op, np.zeros((3, 7), np.float32), axis=1)
        x = np.array([[0, -np.inf, 1, -np.inf, 2], [np.nan, 0, 1, 2, 3], [1, 2, 3, np.nan, 0]], np.float32)
        yield from lowered(op, x, axis=1)
        yield from lowered(op, np.full((2, 3), -np.inf, np.float32), axis=1)
        yield from lowered(op, np.array([[1, np.inf, 2], [np.inf, np.inf, 0]], np.float32), axis=1)
