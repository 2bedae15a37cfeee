"""columns: matrix times vector by input, dense and with a list of active inputs, weights of 32, 16 and 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from edgesparse.ops.select import quantise, select
from edgesparse.types import Array
from tests.kernels.cases import SIZES, Case, direct, normal
from tests.kernels.harness import BYTES, EPS, kernel_test

NONE = np.zeros(0, np.float32)
NO_INDEX = np.zeros(0, np.int32)


def bound(case: Case, expected: Sequence[Array]) -> list[Array]:
    """``eps (n + 8) sum |w| |x|`` for sums of n products in any order; groups of bytes are sums of whole numbers."""
    terms = case.inputs[3].shape[-1] + 8
    return [EPS * terms * size for size in case.reference([np.abs(x) for x in case.inputs])]


def activations(x: Array, index: Array, kind: str) -> list[Array]:
    return [index, *quantise(x)] if kind == "qc8" else [index, x]


def case(weight: Array, bias: Array, x: Array, kind: str, tile: int, threshold: float = -1) -> Case:
    """Dense, or with the inputs above ``threshold`` alone."""
    w = weight.astype(np.float16) if kind == "f16" else weight
    (outputs, inputs), count, index = weight.shape, x.size, NO_INDEX
    if threshold >= 0:
        index, x, count = select(x, np.array([threshold], np.float32))
        x, index = (x[:count], index[:count]) if kind != "qc8" else (x[: -(-count // 32) * 32], index[:count])
        if count == 0:  # an array of no entries would be none
            index, x = np.zeros(1, np.int32), np.zeros(1, np.float32)
    label = f"{kind} {outputs}x{inputs} tile {tile}, {count} active, {'' if bias.size else 'no '}bias"
    arrays = [w, bias, *activations(x, index, kind)]
    shape = ((outputs,), "f32")
    made = direct("columns", arrays, [shape], constants=(0,), label=label)
    attrs = {"count": count, "inputs": inputs, "outputs": outputs, "tile": tile}
    return replace(made, call=replace(made.call, attrs=attrs))


def cases(random: np.random.Generator, kind: str) -> Iterator[Case]:
    for inputs in SIZES:
        x = normal(random, inputs)
        outputs = int(random.integers(1, 100))
        for threshold in (-1, 0.5):
            yield case(normal(random, outputs, inputs), normal(random, outputs), x, kind, 32, threshold)
    for outputs in (*SIZES, 127, 128, 129, 255, 256, 300, 512, 600):
        weight, x = normal(random, outputs, 37), normal(random, 37)
        for tile in (16, 48, 128, 256, 512):
            yield case(weight, NONE, x, kind, tile)
            yield case(weight, normal(random, outputs), x, kind, tile, 0.6)
    weight, x = normal(random, 150, 200), normal(random, 200)
    for threshold in (-1, 0, 0.2, 0.7, 1.5, 2.5, 100):
        yield case(weight, NONE, x, kind, 64, threshold)
    extreme = np.where(random.random((70, 130)) < 0.5, -1, 1).astype(np.float32)  # no sum may saturate
    for sign in (extreme[0], -extreme[0], np.ones(130, np.float32)):
        yield case(extreme, NONE, sign, kind, 64)
        yield case(np.ones_like(extreme), NONE, sign, kind, 64)
        yield case(-np.ones_like(extreme), NONE, sign, kind, 64)
    yield case(np.zeros((20, 40), np.float32), normal(random, 20), normal(random, 40), kind, 16)


@kernel_test("columns", bound=bound)
def test_f32(random: np.random.Generator) -> Iterator[Case]:
    yield from cases(random, "f32")


@kernel_test("columns", bound=bound)
def test_f16(random: np.random.Generator) -> Iterator[Case]:
    yield from cases(random, "f16")
    every = np.arange(0x7C00, dtype=np.uint16)  # subnormal halves among them
    weight = np.concatenate([every, every | 0x8000]).view(np.float16).reshape(-1, 62)
    yield case(weight, NONE, np.ones(62, np.float32), "f16", 128)
    for value in (1.0, 2.0**20):
        for column in range(0, 62, 7):
            x = np.zeros(62, np.float32)
            x[column] = value
            yield case(weight, NONE, x, "f16", 512)


@kernel_test("columns", bound=bound, isas=BYTES)
def test_qc8(random: np.random.Generator) -> Iterator[Case]:
    yield from cases(random, "qc8")
