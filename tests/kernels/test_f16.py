"""Kernels for halves: the cases of those for floats, rounded to halves, and how exact long sums are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from edgesparse.kernels import table
from edgesparse.ops.binary import BINARY
from edgesparse.types import Array
from tests.kernels import (
    test_activation,
    test_binary,
    test_depthwise,
    test_planes,
    test_pool,
    test_reduce,
    test_spmm,
    test_spmv,
)
from tests.kernels.cases import SIZES, SPECIAL, Case, direct, halved, lowered, special
from tests.kernels.harness import EPS, HALVES, exact, half_sums, kernel_test

products = half_sums(lambda case: case.inputs[1].shape[1])
windows = half_sums(lambda case: prod((case.attrs["kernel_y"], case.attrs["kernel_x"])))


def rounded(case: Case, expected: Sequence[Array]) -> list[Array]:
    """One unit in the last place of a half: computed as a float, and rounded; 2 eps of floats where digits cancel."""
    with np.errstate(all="ignore"):
        x = np.abs(case.inputs[0].astype(np.float64)) * 2 * EPS if case.call.op == "activation" else 0.0
        return [np.spacing(np.abs(e).astype(np.float16)).astype(np.float64) + x for e in expected]


def of(test: Any, random: np.random.Generator) -> Iterator[Case]:
    """The cases of another test that are of floats, in halves."""
    return (halved(case) for case in test.cases(random) if case.inputs[0].dtype == np.float32)


@kernel_test("spmm", bound=products, isas=HALVES)
def test_spmm_pixels(random: np.random.Generator) -> Iterator[Case]:
    yield from of(test_spmm.test_pixels, random)


@kernel_test("spmm", bound=products, isas=HALVES)
def test_spmm_patterns(random: np.random.Generator) -> Iterator[Case]:
    yield from of(test_spmm.test_patterns, random)


@kernel_test("spmm", bound=products, isas=HALVES)
def test_spmm_windows(random: np.random.Generator) -> Iterator[Case]:
    yield from of(test_spmm.test_windows, random)


@kernel_test("spmm", bound=products, isas=HALVES)
def test_spmm_pitches(random: np.random.Generator) -> Iterator[Case]:
    yield from of(test_spmm.test_pitches, random)


@kernel_test("spmm", bound=products, isas=HALVES)
def test_spmm_epilogues(random: np.random.Generator) -> Iterator[Case]:
    yield from of(test_spmm.test_epilogues, random)


@kernel_test("spmm", bound=products, isas=HALVES)
def test_spmm_infinities(random: np.random.Generator) -> Iterator[Case]:
    yield from of(test_spmm.test_infinities, random)


@kernel_test("spmm", bound=products, isas=HALVES)
def test_spmm_means(random: np.random.Generator) -> Iterator[Case]:
    yield from of(test_spmm.test_means, random)


def long_sums(case: Case, expected: Sequence[Array]) -> list[float]:
    """1.2e-2 of the rms of the results, ten times the rms error of a sum of 128 halves, however many there are."""
    return [1.2e-2 * float(np.sqrt(np.mean(np.square(e)))) for e in expected]


@kernel_test("spmm", bound=long_sums, isas=HALVES)
def test_long_sums(random: np.random.Generator) -> Iterator[Case]:
    """Up to 4096 terms, positive activations as behind a Relu: sums are folded into floats."""
    for terms in (127, 128, 129, 255, 256, 257, 1024, 4096):
        x = np.maximum(random.standard_normal((1, terms, 5, 5)), 0).astype(np.float32)
        w = (random.standard_normal((16, terms, 1, 1)) / np.sqrt(terms)).astype(np.float32)
        bias = random.standard_normal(16).astype(np.float32)
        yield from (halved(c) for c in lowered("Conv", x, w, bias, constants=(1, 2), label=f"{terms} terms"))


@kernel_test("spmm", bound=products, kernels=("spmv",), isas=HALVES[:1])
def test_vectors(random: np.random.Generator) -> Iterator[Case]:
    for test in (test_spmv.test_sizes, test_spmv.test_epilogues, test_spmv.test_infinities):
        yield from of(test, random)


@kernel_test("depthwise", bound=products, kernels=("depthwise_square",), isas=HALVES)
def test_depthwise_square(random: np.random.Generator) -> Iterator[Case]:
    tests = (
        test_depthwise.test_widths, test_depthwise.test_windows, test_depthwise.test_channels,
        test_depthwise.test_pitches, test_depthwise.test_epilogues, test_depthwise.test_infinities,
    )  # fmt: skip
    for test in tests:
        yield from of(test, random)


@kernel_test("planes", isas=HALVES[:1])
def test_planes_of_halves(random: np.random.Generator) -> Iterator[Case]:
    yield from of(test_planes.test_convolutions, random)
    yield from of(test_planes.test_any_origin, random)


@kernel_test("pool_max", isas=HALVES[:1])
def test_pool_max(random: np.random.Generator) -> Iterator[Case]:
    for test in (test_pool.test_max, test_pool.test_max_of_planes_apart):
        yield from of(test, random)


@kernel_test("pool_avg", bound=windows, isas=HALVES[:1])
def test_pool_avg(random: np.random.Generator) -> Iterator[Case]:
    yield from of(test_pool.test_average, random)
    yield from of(test_pool.test_average_of_planes_apart, random)


def reduced(case: Case, expected: Sequence[Array]) -> list[Array]:
    """That of floats, which are what is summed, and rounding the result."""
    wide = replace(case, values={name: x.astype(np.float32) for name, x in case.values.items()})
    both = zip(test_reduce.bound(wide, expected), rounded(case, expected), strict=True)
    return [np.asarray(one + other) for one, other in both]


@kernel_test("reduce", bound=reduced, isas=HALVES[:1])
def test_reduce_of_halves(random: np.random.Generator) -> Iterator[Case]:
    yield from of(test_reduce.test_floats, random)


@kernel_test("activation", bound=rounded, isas=HALVES[:1])
def test_activation_of_halves(random: np.random.Generator) -> Iterator[Case]:
    yield from of(test_activation.test_activation, random)


def powers(case: Case, expected: Sequence[Array]) -> Sequence[Array | float]:
    kinds = {BINARY["Pow"], BINARY["Mod"]}
    return rounded(case, expected) if case.attrs["kind"] in kinds else exact(case, expected)


@kernel_test("binary", bound=powers, isas=HALVES)
def test_binary_of_halves(random: np.random.Generator) -> Iterator[Case]:
    for test in (test_binary.test_shapes, test_binary.test_special):
        yield from of(test, random)


@kernel_test("convert", isas=HALVES[:1])
def test_convert(random: np.random.Generator) -> Iterator[Case]:
    """Both ways: the nearest half, infinity from 65520 on, subnormal numbers."""
    edges = np.array([65504, 65519.99, 65520, 2**-14, 2**-24, 2**-25, 1.5 * 2**-24, 1 + 2**-11, 1 + 3 * 2**-11])
    for x in (*(special(random, n) for n in (*SIZES, 200)), SPECIAL, edges.astype(np.float32), -edges.astype("f4")):
        yield direct("convert", [x], [(x.shape, "f16")], size=x.size)
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    for half in (every, *(every[1000 : 1000 + n] for n in SIZES)):
        yield direct("convert", [half], [(half.shape, "f32")], size=half.size)


def test_no_other_instruction_set_has_kernels_for_halves() -> None:
    halves = {k.isa for k in table() if any("_Float16" in kind for kind, _ in k.parameters)}
    assert halves == set(HALVES)
