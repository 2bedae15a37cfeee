"""norm and scale_shift: rows, columns and groups of every size, with and without bias and mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edgesparse.types import Array
from tests.kernels.cases import SIZES, Case, lowered, normal, unbounded
from tests.kernels.harness import EPS, kernel_test


def bound(case: Case, expected: Sequence[Array]) -> list[Array]:
    """Mean and variance are sums (see test_reduce.py): their errors, through (x - mean) / deviation * scale."""
    a: dict[str, Any] = case.attrs
    x = case.inputs[0].astype(np.float64).reshape(a["outer"], a["n"], a["inner"])
    mean = x.mean(axis=1, keepdims=True) if a["center"] else 0.0
    power = np.square(x - mean).mean(axis=1, keepdims=True) + float(np.float32(a["epsilon"]))
    off = EPS * (min(a["n"], 128) + 8) * np.abs(x).mean(axis=1, keepdims=True) * a["center"]
    relative = EPS * (min(a["n"], 128) + 16) + off**2 / power
    scale = float(np.abs(case.inputs[1]).max(initial=0))
    bias = float(np.abs(case.inputs[2]).max(initial=0)) if len(case.inputs) > 2 else 0.0
    error = scale / np.sqrt(power) * (off + np.abs(x - mean) * relative) + 4 * EPS * bias
    return [error.reshape(expected[0].shape) + 2 * np.spacing(np.abs(expected[0]))]


@kernel_test("norm", bound=bound)
def test_rows(random: np.random.Generator) -> Iterator[Case]:
    """LayerNormalization and RMSNormalization over the last axes."""
    for n in (*SIZES, 300):
        scale, bias = normal(random, n), normal(random, n)
        yield from lowered("LayerNormalization", normal(random, 3, n), scale, bias, axis=-1)
        yield from lowered("LayerNormalization", normal(random, 3, n) + 50, scale, axis=-1, epsilon=1e-3)
        yield from lowered("RMSNormalization", normal(random, 3, n), scale, axis=-1)
    yield from lowered(
        "LayerNormalization", normal(random, 2, 3, 5), normal(random, 3, 5), normal(random, 3, 5), axis=1
    )
    yield from lowered("LayerNormalization", unbounded(random, 9, 7), normal(random, 7), axis=1)
    yield from lowered("LayerNormalization", np.zeros((2, 9), np.float32), normal(random, 9), normal(random, 9), axis=1)


@kernel_test("norm", bound=bound)
def test_columns(random: np.random.Generator) -> Iterator[Case]:
    """Over an axis in the middle, as the layout pass makes it."""
    for inner in SIZES[1:]:
        for n in (1, 5, 130):
            scale, bias = normal(random, n), normal(random, n)
            yield from lowered("LayerNormalization", normal(random, 2, n, inner), scale, bias, es_axis=1)
        yield from lowered("RMSNormalization", normal(random, 2, 4, inner), normal(random, 4), es_axis=1)
    yield from lowered("LayerNormalization", unbounded(random, 1, 3, 40), normal(random, 3), es_axis=1)


@kernel_test("norm", bound=bound)
def test_channels(random: np.random.Generator) -> Iterator[Case]:
    """Instances and groups: one scale for a run of elements."""
    for pixels in SIZES:
        scale, bias = normal(random, 6), normal(random, 6)
        yield from lowered("InstanceNormalization", normal(random, 2, 6, pixels), scale, bias)
        for groups in (1, 2, 6):
            x = normal(random, 2, 6, 1, pixels)
            yield from lowered("GroupNormalization", x, scale, bias, num_groups=groups, version=21)


@kernel_test("scale_shift", bound=lambda case, y: [2 * EPS * case.reference([np.abs(x) for x in case.inputs])[0]])
def test_scale_shift(random: np.random.Generator) -> Iterator[Case]:
    """BatchNormalization that nothing could absorb."""
    for n in SIZES:
        for shape in ((2, 5, n), (3, n), (2, 3, 2, n)):
            parameters = [normal(random, shape[1]) for _ in range(3)]
            var = np.abs(normal(random, shape[1])) + np.float32(0.1)
            cases = lowered("BatchNormalization", normal(random, *shape), *parameters, var, constants=(1, 2, 3, 4))
            yield from (case for case in cases if case.call.op == "scale_shift")
    yield from lowered(
        "BatchNormalization", unbounded(random, 2, 3, 9), *([np.ones(3, np.float32)] * 4), constants=(1, 2, 3, 4)
    )
