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
    return called("columns", arrays, shape, label, count=count, inputs=inputs, outputs=outputs, tile=tile)


def called(op: str, arrays: Sequence[Array], output: tuple[Sequence[int], str], label: str, **attrs: int) -> Case:
    """`direct` for attributes that are called as its own parameters are."""
    made = direct(op, arrays, [output], constants=(0,), label=label)
    return replace(made, call=replace(made.call, attrs=attrs))


def cases(random: np.random.Generator, kind: str) -> Iterator[Case]:
    narrow = 64 if kind == "qc8" else 16  # outputs, the narrowest tile there is
    for inputs in SIZES:
        x = normal(random, inputs)
        outputs = int(random.integers(1, 100))
        for threshold in (-1, 0.5):
            yield case(normal(random, outputs, inputs), normal(random, outputs), x, kind, 2 * narrow, threshold)
    for outputs in (*SIZES, 127, 128, 129, 255, 256, 300, 512, 600):
        weight, x = normal(random, outputs, 37), normal(random, 37)
        for tile in (narrow, 3 * narrow, 128, 256, 512):
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
    yield case(np.zeros((20, 40), np.float32), normal(random, 20), normal(random, 40), kind, narrow)


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
    # rows that are padded, and more outputs than are computed in one turn, on wasm and elsewhere
    for outputs in (4090, 8192, 12350, 24650):
        weight, x = normal(random, outputs, 21), normal(random, 21)
        yield case(weight, NONE, x, "qc8", 128)
        yield case(weight, normal(random, outputs), x, "qc8", 128, 0.6)


def many(op: str, weight: Array, bias: Array, x: Array, kind: str, tile: int = 0) -> Case:
    """Tokens that lie further apart than they are long."""
    w = weight.astype(np.float16) if kind == "f16" else weight
    (outputs, inputs), tokens = weight.shape, len(x)
    room = -(-inputs // 32) * 32 + 32 if kind == "qc8" else inputs + 3
    apart = np.full((tokens, room), np.float32(1e3))
    apart[:, :inputs] = x
    if kind == "qc8":
        apart[:, inputs:] = 0
    pitch = {("q_pitch" if kind == "qc8" else "x_pitch"): room, "y_pitch": outputs + 5}
    label = f"{kind} {outputs}x{inputs} tile {tile}, {tokens} tokens, {'' if bias.size else 'no '}bias"
    ends = {"entries": outputs} if op.startswith("rows") else {"outputs": outputs, **({"tile": tile} if tile else {})}
    arrays = [w, bias, *activations(apart, NO_INDEX, kind)]
    shape = ((tokens, outputs + 5), "f32")
    return called(op, arrays, shape, label, tokens=tokens, inputs=inputs, **ends, **pitch)


def all_many(random: np.random.Generator, kind: str) -> Iterator[Case]:
    for tokens in (1, 2, 3, 4, 5, 6, 7, 9, 16, 33, 64):
        inputs, outputs = (int(random.integers(1, 90)) for _ in range(2))
        x = normal(random, tokens, inputs)
        for tile in (64 if kind == "qc8" else 32, 256):
            yield many("columns_many", normal(random, outputs, inputs), normal(random, outputs), x, kind, tile)
    for outputs in (1, 15, 16, 17, 63, 64, 80, 129, 300):
        yield many("columns_many", normal(random, outputs, 70), NONE, normal(random, 4, 70), kind, 128)
    yield many("columns_many", normal(random, 4096, 35), NONE, normal(random, 3, 35), kind, 512)
    for inputs in (*SIZES, 127, 128, 129, 255, 257, 300):
        yield many("columns_many", normal(random, 70, inputs), NONE, normal(random, 7, inputs), kind, 512)
    one = np.ones((7, 130), np.float32)
    yield many("columns_many", np.ones((70, 130), np.float32), NONE, one, kind, 64)
    yield many("columns_many", -np.ones((70, 130), np.float32), NONE, one, kind, 64)


@kernel_test("columns_many", bound=bound)
def test_many_f32(random: np.random.Generator) -> Iterator[Case]:
    yield from all_many(random, "f32")


@kernel_test("columns_many", bound=bound)
def test_many_f16(random: np.random.Generator) -> Iterator[Case]:
    yield from all_many(random, "f16")


@kernel_test("columns_many", bound=bound, isas=BYTES)
def test_many_qc8(random: np.random.Generator) -> Iterator[Case]:
    yield from all_many(random, "qc8")
