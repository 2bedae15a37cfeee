"""Resize against onnxruntime: every mode at whole and fractional scales, by scales and by sizes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ops.many import Cases, floats

SCALES = (0.3, 0.6, 1.0, 1.3, 1.5, 1.7, 2.0)
COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn"
)  # fmt: skip
SIZES = (1, 2, 9, 16)


def add(cases: Cases, n: int, scale: float, by_size: bool, **attrs: Any) -> None:
    """One Resize of the last two axes; as ``sizes`` of the length that the scale gives."""
    x = floats(1, 1, n, 2)
    scales = np.array([1, 1, scale, 1.5], np.float32)
    wanted = np.floor(np.array(x.shape, np.float32) * scales).astype(np.int64)
    if wanted.min() < 1:
        return
    if by_size:
        cases.add("Resize", x, None, None, wanted, constant=[3], **attrs)
    else:
        cases.add("Resize", x, None, scales, constant=[2], **attrs)


@pytest.mark.parametrize("by_size", [False, True])
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_nearest(tmp_path: Path, rounding: str, by_size: bool) -> None:
    cases = Cases(19)
    for mode, n, scale in product(COORDINATES, SIZES, SCALES):
        add(
            cases, n, scale, by_size, mode="nearest", coordinate_transformation_mode=mode, nearest_mode=rounding
        )  # fmt: skip
    cases.check(tmp_path, rtol=0)


@pytest.mark.parametrize("by_size", [False, True])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_interpolated(tmp_path: Path, mode: str, by_size: bool) -> None:
    cases = Cases(19)
    for coordinates, n, scale in product(COORDINATES, SIZES, SCALES):
        add(cases, n, scale, by_size, mode=mode, coordinate_transformation_mode=coordinates)
        if mode == "cubic" and n == 9:
            add(
                cases, n, scale, by_size, mode=mode, coordinate_transformation_mode=coordinates, exclude_outside=1,
                cubic_coeff_a=-0.5,
            )  # fmt: skip
    cases.check(tmp_path, rtol=2e-5, atol=5e-6)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_antialias(tmp_path: Path, mode: str) -> None:
    cases = Cases(19)
    for coordinates, n, scale, outside in product(COORDINATES, (9, 16), (0.3, 0.6, 1.7), (0, 1)):
        add(
            cases, n, scale, False, mode=mode, coordinate_transformation_mode=coordinates, antialias=1,
            exclude_outside=outside,
        )  # fmt: skip
    cases.check(tmp_path, rtol=2e-5, atol=5e-6)


def test_other_types_axes_and_policies(tmp_path: Path) -> None:
    cases = Cases(19)
    whole = np.arange(2 * 7 * 5, dtype=np.int32).reshape(2, 7, 5)
    cases.add("Resize", whole, None, np.array([1.7, 0.6], np.float32), constant=[2], axes=[2, 1], mode="nearest")
    for policy in ("stretch", "not_larger", "not_smaller"):
        cases.add(
            "Resize", whole, None, None, np.array([11, 9]), constant=[3], axes=[1, 2], keep_aspect_ratio_policy=policy
        )  # fmt: skip
    cases.check(tmp_path)


def test_what_torch_writes_for_fractional_scales(tmp_path: Path) -> None:
    """nn.Upsample(scale_factor=1.7, mode="bilinear", align_corners=True) and (scale_factor=0.6, mode="nearest")."""
    cases, x = Cases(19), floats(1, 1, 1, 9)
    corners = np.arange(15, dtype=np.float32) * 8 / 14
    low = np.floor(corners).astype(int)
    line = x[0, 0, 0, low] * (1 - (corners - low)) + x[0, 0, 0, np.minimum(low + 1, 8)] * (corners - low)
    cases.add(
        "Resize", x, None, np.array([1, 1, 1, 1.7], np.float32), constant=[2], mode="linear",
        coordinate_transformation_mode="align_corners", expect=line.astype(np.float32).reshape(1, 1, 1, 15),
    )  # fmt: skip
    cases.add(
        "Resize", x, None, np.array([1, 1, 1, 0.6], np.float32), constant=[2], mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor", expect=x[..., [0, 1, 3, 5, 6]],
    )  # fmt: skip
    cases.check(tmp_path, rtol=1e-5, atol=1e-6)
