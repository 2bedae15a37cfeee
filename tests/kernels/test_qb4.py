"""Weights of 4 bits: every layout, one token and several, and what chooses and quantises their inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from edgesparse.decoder.pack_qb4 import BLOCKS, OFFSET_FACTOR, active, grouped
from edgesparse.types import Array, Attr
from tests.kernels.cases import Case, direct, normal
from tests.kernels.harness import BYTES, EPS, kernel_test
from tests.kernels.machine import WASM_SETTINGS

NONE = np.zeros(0, np.float32)
NO_INDEX = np.zeros(0, np.int32)
SIZES = (1, 3, 4, 16, 17, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 200)


def bound(case: Case, expected: Sequence[Array]) -> list[Array]:
    """Groups are sums of whole numbers: what is rounded are a product of scales, and a sum of as many as there are."""
    positive = [np.abs(x) for x in case.inputs]
    positive[0] = np.abs(case.inputs[0].astype(np.int64) - 8) + 8.0
    groups = case.inputs[4].size + 24
    return [EPS * groups * np.where(np.isnan(size), 0, size) for size in case.reference(positive)]


def drawn(random: np.random.Generator, outputs: int, inputs: int, block: int) -> list[Array]:
    """Any nibbles, among them rows of the smallest and of the largest ones; scales of both signs."""
    u = random.integers(0, 16, (outputs, inputs), np.uint8)
    u[0], u[-1] = 15, 0
    scale = random.normal(size=(outputs, -(-inputs // block))).astype(np.float16)
    scale[0, 0] = np.float16(3e-6)  # subnormal
    return [u, scale]


def case(op: str, arrays: Sequence[Array], shape: Sequence[int], label: str, /, **attrs: Attr) -> Case:
    known = [i for i in ((0, 1, 6) if op.startswith("blocks") else (0, 1)) if i < len(arrays)]
    made = direct(op, arrays, [(shape, "f32")], constants=known, label=label)
    return replace(made, call=replace(made.call, attrs=attrs))


def one_token(random: np.random.Generator, op: str) -> Iterator[tuple[list[Array], dict[str, int], str]]:
    """w, wscale, bias, q, scale, sum; the attributes; a label."""
    shapes = [(int(random.integers(1, 150)), inputs) for inputs in SIZES]
    shapes += [(outputs, 70) for outputs in (*SIZES, 257, 2100, 12600)] + [(130, 1000), (40, 513)]
    for outputs, inputs in shapes:
        for block in BLOCKS:
            x = normal(random, inputs)
            x[random.random(inputs) < 0.1] = 0
            if outputs % 3 == 0:
                x[:] = np.float32(7)  # the largest q everywhere
            bias = normal(random, outputs) if outputs % 2 else NONE
            arrays = [*drawn(random, outputs, inputs, block), bias, *grouped(x, 32)]
            label = f"{op} {outputs}x{inputs}, blocks of {block}"
            yield arrays, {"inputs": inputs, "outputs": outputs, "block": block}, label


@kernel_test("dense_qb4", kernels=("dense",), bound=bound, isas=BYTES)
def test_dense(random: np.random.Generator) -> Iterator[Case]:
    for arrays, attrs, label in one_token(random, "dense"):
        yield case("dense_qb4", arrays, (attrs["outputs"],), label, **attrs)


@kernel_test("columns_qb4", kernels=("columns",), bound=bound, isas=BYTES)
def test_columns(random: np.random.Generator) -> Iterator[Case]:
    for arrays, attrs, label in one_token(random, "columns"):
        shape = (attrs["outputs"],)
        yield case("columns_qb4", [*arrays, NO_INDEX, NO_INDEX], shape, label, **attrs)
        x = normal(random, attrs["inputs"])
        for threshold in (0.0, 0.7, 2.0, 9.0):
            index, q, scale, total, start = active(x, np.array([threshold], np.float32), attrs["block"])
            if not index.size:  # an array of no entries would be none
                index, q = np.zeros(1, np.int32), np.zeros(1, np.int8)
            given = [*arrays[:3], q, scale, total, index, start]
            yield case("columns_qb4", given, shape, f"{label}, {start[-1]} entries", **attrs)
    x = normal(random, 1000)
    found = active(x, np.array([0.7], np.float32), 32)
    given = [*drawn(random, 2200, 1000, 32), NONE, *found[1:4], found[0], found[4]]  # more than a megabyte
    yield case("columns_qb4", given, (2200,), "columns 2200x1000", inputs=1000, outputs=2200, block=32)


@kernel_test("rows_qb4", kernels=("rows",), bound=bound, isas=BYTES)
def test_rows(random: np.random.Generator) -> Iterator[Case]:
    for arrays, attrs, label in one_token(random, "rows"):
        outputs = attrs["outputs"]
        chosen = np.flatnonzero(random.random(outputs) < 0.4).astype(np.int32)
        for index in (NO_INDEX, chosen if chosen.size else np.array([outputs - 1], np.int32)):
            given = {"inputs": attrs["inputs"], "block": attrs["block"], "begin": 0, "end": index.size or outputs}
            yield case("rows_qb4", [*arrays, index], (outputs,), f"{label}, {index.size or 'all'}", **given)


def many(random: np.random.Generator) -> Iterator[tuple[list[Array], dict[str, int], str]]:
    for tokens, outputs, inputs in ((1, 20, 40), (2, 33, 64), (7, 140, 100), (8, 16, 33), (17, 300, 160), (37, 5, 200)):
        for block in BLOCKS:
            x = normal(random, tokens, inputs)
            bias = normal(random, outputs) if tokens % 2 else NONE
            attrs = {"tokens": tokens, "q_pitch": -(-inputs // 32) * 32, "y_pitch": outputs, "inputs": inputs}
            label = f"{outputs}x{inputs}, blocks of {block}, {tokens} tokens"
            yield [*drawn(random, outputs, inputs, block), bias, *grouped(x, 32)], {**attrs, "block": block}, label


@kernel_test("dense_many_qb4", kernels=("dense_many",), bound=bound, isas=BYTES)
def test_dense_many(random: np.random.Generator) -> Iterator[Case]:
    for arrays, attrs, label in many(random):
        shape = (attrs["tokens"], attrs["y_pitch"])
        yield case("dense_many_qb4", arrays, shape, label, outputs=shape[1], **attrs)


@kernel_test("columns_many_qb4", kernels=("columns_many",), bound=bound, isas=BYTES)
def test_columns_many(random: np.random.Generator) -> Iterator[Case]:
    for arrays, attrs, label in many(random):
        shape = (attrs["tokens"], attrs["y_pitch"])
        yield case("columns_many_qb4", arrays, shape, label, outputs=shape[1], **attrs)


@kernel_test("rows_many_qb4", kernels=("rows_many",), bound=bound, isas=BYTES)
def test_rows_many(random: np.random.Generator) -> Iterator[Case]:
    for arrays, attrs, label in many(random):
        shape = (attrs["tokens"], attrs["y_pitch"])
        yield case("rows_many_qb4", arrays, shape, label, begin=0, end=shape[1], **attrs)


def kept(random: np.random.Generator, outputs: int, inputs: int, share: float) -> tuple[list[Array], list[Array]]:
    """(w, wscale), (column, start) of random blocks; some groups have none."""
    keep = random.random((-(-outputs // 4), -(-inputs // 16))) < share
    group, column = np.nonzero(keep)
    if not group.size:
        keep[0, 0], group, column = True, np.array([0]), np.array([0])
    u = random.integers(0, 16, (len(group), 4, 16), np.uint8)
    scale = random.normal(size=(len(group), 4)).astype(np.float16)
    start = np.concatenate([[0], np.cumsum(keep.sum(axis=1))]).astype(np.int32)
    return [u, scale], [column.astype(np.int32), start]


@kernel_test("blocks_qb4", kernels=("blocks",), bound=bound, isas=BYTES)
def test_blocks(random: np.random.Generator) -> Iterator[Case]:
    for outputs, inputs in ((1, 1), (3, 16), (4, 17), (5, 40), (16, 64), (33, 100), (130, 500)):
        for share in (0.0, 0.3, 0.5, 1.0):
            (w, s), where = kept(random, outputs, inputs, share)
            bias = normal(random, outputs) if outputs % 2 else NONE
            q, scale, total = grouped(normal(random, inputs), 16)
            label = f"blocks {outputs}x{inputs}, {len(w)} kept"
            yield case(
                "blocks_qb4", [w, s, bias, q, scale, OFFSET_FACTOR * total, *where], (outputs,), label, outputs=outputs
            )


@kernel_test("blocks_many_qb4", kernels=("blocks_many",), bound=bound, isas=BYTES)
def test_blocks_many(random: np.random.Generator) -> Iterator[Case]:
    for tokens, outputs, inputs in ((1, 5, 40), (7, 33, 96), (8, 16, 160), (21, 10, 64)):
        (w, s), where = kept(random, outputs, inputs, 0.5)
        bias = normal(random, outputs) if tokens % 2 else NONE
        attrs = {"tokens": tokens, "q_pitch": -(-inputs // 32) * 32, "y_pitch": outputs, "outputs": outputs}
        q, scale, total = grouped(np.pad(normal(random, tokens, inputs), ((0, 0), (0, -inputs % 32))), 16)
        label = f"blocks {outputs}x{inputs}, {tokens} tokens"
        yield case(
            "blocks_many_qb4", [w, s, bias, q, scale, OFFSET_FACTOR * total, *where], (tokens, outputs), label, **attrs
        )


@pytest.mark.parametrize("test", (test_dense, test_dense_many, test_blocks, test_blocks_many))
def test_sums_of_four(test: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that sum four products at once, as on ARM: wasmtime does where it has to compute the same everywhere."""
    monkeypatch.setitem(WASM_SETTINGS, "wasm_relaxed_simd_deterministic", True)
    test("relaxed")


@kernel_test("select_qb4", kernels=("select",), bound=lambda case, expected: [0.0] * 6)
def test_select(random: np.random.Generator) -> Iterator[Case]:
    for n in SIZES:
        for block in BLOCKS:
            for limit in (-1.0, 0.0, 0.6, 3.0):
                x = normal(random, n)
                x[random.random(n) < 0.2] = 0
                blocks = -(-n // block)
                shapes = [((blocks * block,), "i32"), ((blocks * block,), "i8"), ((blocks,), "f32"), ((blocks,), "i32")]
                shapes += [((blocks + 1,), "i32"), ((1,), "i32")]
                for per_channel in (0, 1):
                    threshold = np.full(n if per_channel else 1, limit, np.float32)
                    if per_channel and limit > 0:
                        threshold = np.abs(normal(random, n)).astype(np.float32)
                        x[n // 2], threshold[n // 2] = 1e30, np.inf  # the largest is left out, and scales nothing
                    yield direct("select_qb4", [x, threshold], shapes, n=n, block=block, per_channel=per_channel)


@kernel_test("quantise16", bound=lambda case, expected: [0.0] * 3)
def test_quantise16(random: np.random.Generator) -> Iterator[Case]:
    for n in SIZES:
        for x in (normal(random, n), np.zeros(n, np.float32), random.integers(-254, 255, n).astype(np.float32) / 2):
            groups = -(-n // 16)
            shapes = [((-(-n // 32) * 32,), "i8"), ((groups,), "f32"), ((groups,), "i32")]
            yield direct("quantise16", [x], shapes, count=n)


@kernel_test("row_qb4", kernels=("row",), bound=lambda case, expected: [0.0])
def test_row(random: np.random.Generator) -> Iterator[Case]:
    for outputs, inputs in ((1, 1), (17, 33), (40, 64), (33, 200)):
        for block in BLOCKS:
            arrays = drawn(random, outputs, inputs, block)
            for row in {0, outputs // 2, outputs - 1}:
                label = f"row {row} of {outputs}x{inputs}, blocks of {block}"
                yield case("row_qb4", arrays, (inputs,), label, row=row, columns=inputs, block=block)


@kernel_test("row_f16", kernels=("row",), bound=lambda case, expected: [0.0])
def test_row_f16(random: np.random.Generator) -> Iterator[Case]:
    w = normal(random, 5, 37).astype(np.float16)
    w[0, :6] = 0, -0.0, 65504, -65504, 6e-8, -6e-8
    for row in range(5):
        yield case("row_f16", [w], (37,), f"row {row}", row=row, columns=37)


@kernel_test("row_qc8", kernels=("row",), bound=lambda case, expected: [0.0])
def test_row_qc8(random: np.random.Generator) -> Iterator[Case]:
    for columns in (1, 31, 32, 70):
        w = random.integers(-127, 128, (38, columns)).astype(np.int8)
        scale = np.abs(normal(random, 38))
        for row in (0, 5, 16, 37):
            yield case("row_qc8", [w, scale], (columns,), f"row {row} of {columns}", row=row, columns=columns)
