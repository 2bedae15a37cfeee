"""winograd: 3x3 convolutions of stride 1 on planes of every size, in one and in several chunks of tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from edgesparse.ops.winograd import POINTS, transforms
from edgesparse.select import bindings
from edgesparse.types import Array, Machine
from tests.kernels.cases import Case, padded
from tests.kernels.harness import EPS, kernel_test, steepest
from tests.kernels.test_spmm import ACTIVATIONS, bound, conv

ALL_AROUND = [1, 1, 1, 1]
FORTH_AND_BACK = 24
"""Roundings on the way of one product, beside those of the sum: two transforms of two dimensions, and G's."""


def error(case: Case, expected: Sequence[Array]) -> list[Array]:
    """``eps (C + roundings) |A^T| (sum_c |G| |g| |G^T| * |B^T| |d| |B|) |A|``: what the transforms may amplify."""
    plain = np.asarray(bound(case, expected)[0])
    a: dict[str, Any] = case.attrs
    found = [b for b in bindings(case.call, case.graph, Machine("avx2")) if b.stem == "winograd_f32"]
    assert found, f"not for Winograd: {case.label}"
    most = np.zeros((a["images"], a["channels"], a["plane"]))
    for binding in found:
        given: dict[str, Any] = dict(binding.arguments)
        tile, rows, columns = binding.tiles["M"], given["rows"], given["columns"]
        back, forth, weights = (np.abs(m) for m in transforms(tile))
        w = np.abs(case.inputs[1].astype(np.float64)).reshape(a["channels"], a["in_channels"], 3, 3)
        x = np.abs(_planes(case, rows, columns, given["x_pitch"])).astype(np.float64)
        down, across = -(-rows // tile), -(-columns // tile)
        x = np.pad(x, ((0, 0), (0, 0), (0, tile * down - rows), (0, tile * across - columns)))
        size = np.zeros((a["images"], a["channels"], down * tile, across * tile))
        for r in range(down):
            for c in range(across):
                d = x[:, :, r * tile : r * tile + tile + 2, c * tile : c * tile + tile + 2]
                m = np.einsum("kcij,ncij->nkij", weights @ w @ weights.T, forth @ d @ forth.T)
                size[:, :, r * tile : (r + 1) * tile, c * tile : (c + 1) * tile] = back @ m @ back.T
        most = np.maximum(most, size[:, :, :rows, :columns].reshape(most.shape))
    most = np.pad(most, ((0, 0), (0, 0), (0, a["y_plane"] - a["plane"])))
    grown = EPS * (a["in_channels"] + FORTH_AND_BACK) * steepest(case) * most
    return [plain + grown.reshape(plain.shape)]


def _planes(case: Case, rows: int, columns: int, pitch: int) -> Array:
    """The input as (images, channels, rows + 2, columns + 2): the last of a row may be the first of the next."""
    a: dict[str, Any] = case.attrs
    flat = np.append(case.inputs[0].reshape(-1), np.zeros(2, np.float32))
    plane = np.arange(a["images"] * a["in_channels"]).reshape(a["images"], a["in_channels"], 1, 1) * a["x_plane"]
    return np.asarray(flat[plane + np.arange(rows + 2)[:, None] * pitch + np.arange(columns + 2)])


@pytest.mark.parametrize("tile", POINTS)
def test_identity(tile: int) -> None:
    """In rational numbers the transforms give the convolution itself."""
    back, forth, weights = (np.vectorize(lambda f: Fraction(f).limit_denominator(10**6))(m) for m in transforms(tile))
    random = np.random.default_rng(tile)
    d, g = (np.vectorize(Fraction)(random.integers(-9, 9, n)) for n in (tile + 2, 3))
    assert list(back @ ((weights @ g) * (forth @ d))) == [sum(g * d[i : i + 3]) for i in range(tile)]


@kernel_test("spmm", bound=error, kernels=("winograd",))
def test_sizes(random: np.random.Generator) -> Iterator[Case]:
    """Planes that are and are not whole tiles, from one tile to several chunks; channels that do not fill a block."""
    for size in ((1, 2), (2, 1), (3, 3), (4, 4), (5, 9), (7, 7), (14, 13), (2, 50)):
        yield from conv(random, (1, 8, *size), 9, (3, 3), pads=ALL_AROUND, pattern="dense")
    yield from conv(random, (2, 9, 6, 11), 13, (3, 3), pads=ALL_AROUND, pattern="dense")
    yield from conv(random, (3, 8, 21, 30), 8, (3, 3), pads=ALL_AROUND, pattern="dense")
    yield from conv(random, (1, 33, 5, 6), 70, (3, 3), pads=ALL_AROUND, pattern="dense")
    yield from conv(random, (1, 8, 5, 6), 8, (3, 3), pads=ALL_AROUND, pattern="zero")


@kernel_test("spmm", bound=error, kernels=("winograd",))
def test_borders(random: np.random.Generator) -> Iterator[Case]:
    """No border, a wide one, and different ones: each lays out the rows of the input in its own way."""
    for pads in ([0, 0, 0, 0], [2, 2, 2, 2], [0, 1, 2, 0], [1, 0, 0, 2], [0, 2, 1, 0]):
        for size in ((4, 7), (9, 3), (6, 64)):
            yield from conv(random, (2, 8, *size), 8, (3, 3), pads=pads, pattern="dense")


@kernel_test("spmm", bound=error, kernels=("winograd",))
def test_pitches(random: np.random.Generator) -> Iterator[Case]:
    """Planes that lie apart: the padding of the output becomes zero."""
    for pads in ([0] * 4, ALL_AROUND):
        for pitch in (1, 9, 16):
            cases = [
                *conv(random, (2, 8, 5, 7), 12, (3, 3), pads=pads, pattern="dense"),
                *conv(random, (1, 8, 6, 6), 8, (3, 3), pads=pads, pattern="dense", residual=True, es_act="relu"),
            ]
            yield from (padded(case, pitch) for case in cases)


@kernel_test("spmm", bound=error, kernels=("winograd",))
def test_epilogues(random: np.random.Generator) -> Iterator[Case]:
    """Each activation, slope and residual."""
    same: dict[str, Any] = {"pads": ALL_AROUND, "pattern": "dense"}
    for act, bounds in ACTIVATIONS.items():
        yield from conv(random, (1, 8, 5, 6), 8, (3, 3), **same, es_act=act, **bounds)
    for shape in ((2, 8, 5, 13), (1, 8, 30, 6)):
        yield from conv(random, shape, 9, (3, 3), **same, slope=True)
        yield from conv(random, shape, 9, (3, 3), **same, slope=True, residual=True)
        yield from conv(random, shape, 9, (3, 3), **same, residual=True, es_act="relu")


@kernel_test("spmm", bound=error, kernels=("winograd",))
def test_parts(random: np.random.Generator) -> Iterator[Case]:
    """Several chunks and several groups of output channels: any part can begin anywhere."""
    yield from conv(random, (1, 8, 24, 24), 70, (3, 3), pads=ALL_AROUND, pattern="dense")
    yield from conv(random, (1, 8, 2, 2), 70, (3, 3), pads=ALL_AROUND, pattern="dense")
