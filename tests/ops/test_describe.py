"""What `packing.describe` calls the zeros of a weight."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.ops.packing import describe
from edgesparse.patterns import parse_pattern


@pytest.mark.parametrize(
    ("text", "shape", "called"),
    [
        ("unstructured", (32, 64), "unstructured"),
        ("block:2x1", (32, 64), "block:2x1"),
        ("block:4x1", (32, 64), "block:4x1"),
        ("block:8x1", (32, 64, 3, 3), "block:8x1"),
        ("block:4x2", (32, 64), "block:4x1"),  # what kernels see of it
        ("block:4x1", (30, 64), "block:2x1"),  # four rows do not divide it
        ("nm:2:4", (32, 64), "nm:2:4"),
        ("nm:1:8", (32, 64), "nm:1:8"),
        ("nm:2:4", (32, 64, 3, 3), "nm:2:4"),
        ("nm:2:4x4", (32, 64), "nm:2:4x4"),
        ("nm:1:2", (32, 64), "nm:1:2"),
        ("nm:3:7x2", (32, 64), "nm:3:7x2"),  # the last group has one channel
        ("nm:2:4", (33, 6, 3, 3), "nm:2:4"),
        ("nm:2:4", (3, 8), "unstructured"),  # six groups may hold two each by chance
        ("slice:4x1", (32, 64, 3, 3), "slice:4x1"),
        ("slice:1x1", (32, 64, 3, 3), "slice:1x1"),
        ("taps:4", (32, 64, 3, 3), "taps:4"),
        ("taps:5x2", (32, 64, 3, 3), "taps:5x2"),
    ],
)
def test_patterns_are_recognised(text: str, shape: tuple[int, ...], called: str) -> None:
    weight, pattern = np.random.default_rng(0).standard_normal(shape).astype(np.float32), parse_pattern(text)
    sparsity = 0.6 if pattern.fixed_sparsity is None else pattern.fixed_sparsity
    mask = pattern.mask(weight, sparsity)
    found, zeros = describe((weight * mask).reshape(shape[0], -1), int(np.prod(shape[2:])))
    assert found == called
    assert zeros == pytest.approx(1 - mask.mean())


def test_no_zeros_are_dense() -> None:
    assert describe(np.ones((4, 4), np.float32)) == ("dense", 0.0)


def test_what_is_no_pattern_of_ours_is_not_named_as_one() -> None:
    weight = np.zeros((8, 16, 9), np.float32)
    weight[:, ::2, :3] = 1
    weight[:, 1::2, 3:6] = 1  # three of nine taps
    name, _ = describe(weight.reshape(8, -1), 9)
    assert parse_pattern(name).text == name and not name.startswith("taps")
