"""dense: matrix times vector with interleaved weights of 8 bits, one token and several."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgesparse.types import Array
from tests.kernels.cases import SIZES, Case, normal
from tests.kernels.harness import BYTES, kernel_test
from tests.kernels.test_columns import NO_INDEX, NONE, activations, bound, called, many


def case(weight: Array, bias: Array, x: Array) -> Case:
    outputs, inputs = weight.shape
    label = f"{outputs}x{inputs}, {'' if bias.size else 'no '}bias"
    arrays = [weight, bias, *activations(x, NO_INDEX, "qc8")]
    return called("dense", arrays, ((outputs,), "f32"), label, inputs=inputs, outputs=outputs)


def extremes(random: np.random.Generator, tokens: int) -> Iterator[tuple[Array, Array]]:
    """Weights and activations with which no sum may saturate."""
    weight = np.where(random.random((70, 130)) < 0.5, -1, 1).astype(np.float32)
    for row in (weight[0], -weight[0], np.ones(130, np.float32)):
        for w in (weight, np.ones_like(weight), -np.ones_like(weight)):
            yield w, np.tile(row, (tokens, 1))


@kernel_test("dense", bound=bound, isas=BYTES)
def test_dense(random: np.random.Generator) -> Iterator[Case]:
    for inputs in SIZES:
        outputs = int(random.integers(1, 100))
        yield case(normal(random, outputs, inputs), normal(random, outputs), normal(random, inputs))
    for outputs in (*SIZES, 127, 128, 129, 255, 256, 300):
        yield case(normal(random, outputs, 70), NONE, normal(random, 70))
    yield case(normal(random, 40, 1000), NONE, normal(random, 1000))
    for w, x in extremes(random, 1):
        yield case(w, NONE, x[0])
    yield case(np.zeros((20, 40), np.float32), normal(random, 20), normal(random, 40))


@kernel_test("dense_many", bound=bound, isas=BYTES)
def test_many(random: np.random.Generator) -> Iterator[Case]:
    for tokens in (1, 2, 3, 4, 5, 6, 7, 9, 16, 33, 64, 65, 130):
        inputs, outputs = (int(random.integers(1, 90)) for _ in range(2))
        x = normal(random, tokens, inputs)
        yield many("dense_many", normal(random, outputs, inputs), normal(random, outputs), x, "qc8")
    for outputs in (1, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 80, 129, 300):
        yield many("dense_many", normal(random, outputs, 70), NONE, normal(random, 4, 70), "qc8")
    for inputs in (*SIZES, 127, 128, 129, 255, 256, 257, 300, 700):
        yield many("dense_many", normal(random, 70, inputs), NONE, normal(random, 7, inputs), "qc8")
    for w, x in extremes(random, 7):
        yield many("dense_many", w, NONE, x, "qc8")
