"""rows: matrix times vector by output, all outputs or those of a list, weights of 32, 16 and 8 bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgesparse.types import Array
from tests.kernels.cases import SIZES, Case, normal
from tests.kernels.harness import BYTES, kernel_test
from tests.kernels.test_columns import NO_INDEX, NONE, activations, bound, called, many


def case(weight: Array, bias: Array, x: Array, kind: str, index: Array = NO_INDEX) -> Case:
    w = weight.astype(np.float16) if kind == "f16" else weight
    outputs, inputs = weight.shape
    entries = index.size or outputs
    label = f"{kind} {entries} of {outputs}x{inputs}, {'' if bias.size else 'no '}bias"
    arrays = [w, bias, *activations(x, index, kind)]
    return called("rows", arrays, ((outputs,), "f32"), label, inputs=inputs, entries=entries)


def cases(random: np.random.Generator, kind: str) -> Iterator[Case]:
    for inputs in (*SIZES, 127, 128, 160, 600, 2100, 2500):
        outputs = int(random.integers(1, 30))
        weight, x = normal(random, outputs, inputs), normal(random, inputs)
        yield case(weight, NONE, x, kind)
        some = np.flatnonzero(random.random(outputs) < 0.5).astype(np.int32)
        yield case(weight, normal(random, outputs), x, kind, some)
    one = np.ones(130, np.float32)  # no sum may saturate
    for w in (np.ones((3, 130), np.float32), -np.ones((3, 130), np.float32)):
        yield case(w, NONE, one, kind)
        yield case(w, NONE, -one, kind)
    yield case(np.zeros((3, 40), np.float32), normal(random, 3), normal(random, 40), kind)
    for tokens in (1, 3, 7, 8, 17, 33):
        for inputs in (5, 64, 130):
            outputs = int(random.integers(1, 40))
            weight, bias = normal(random, outputs, inputs), normal(random, outputs)
            yield many("rows_many", weight, bias, normal(random, tokens, inputs), kind)


@kernel_test("rows", "rows_many", bound=bound)
def test_f32(random: np.random.Generator) -> Iterator[Case]:
    yield from cases(random, "f32")


@kernel_test("rows", "rows_many", bound=bound)
def test_f16(random: np.random.Generator) -> Iterator[Case]:
    yield from cases(random, "f16")


@kernel_test("rows", "rows_many", bound=bound, isas=BYTES)
def test_qc8(random: np.random.Generator) -> Iterator[Case]:
    yield from cases(random, "qc8")
