"""planes: the bordered copy that strided and padded convolutions read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.kernels.cases import SIZES, Case, direct, padded, special
from tests.kernels.harness import kernel_test
from tests.kernels.test_spmm import conv


@kernel_test("planes")
def test_convolutions(random: np.random.Generator) -> Iterator[Case]:
    """As convolutions ask for it."""
    for width in SIZES:
        for stride in (1, 2, 3):
            yield from conv(
                random, (2, 2, 3, width), 1, (3, 3), op="planes", pads=[1, 1, 1, 1], strides=[1, stride]
            )  # fmt: skip
    for size in ((1, 1), (2, 3), (8, 5)):
        yield from conv(random, (1, 3, *size), 1, (5, 3), op="planes", pads=[2, 1, 4, 3], strides=[2, 1])
        yield from conv(random, (1, 3, *size), 1, (3, 3), op="planes", pads=[2, 2, 2, 2], dilations=[2, 2])
        yield from conv(random, (1, 3, *size), 1, (4, 4), op="planes", auto_pad="SAME_LOWER", strides=[4, 4])
        apart = conv(random, (2, 3, *size), 1, (3, 3), op="planes", pads=[1, 1, 1, 1])
        yield from (padded(case, 5) for case in apart)


@kernel_test("planes")
def test_any_origin(random: np.random.Generator) -> Iterator[Case]:
    """Phases that begin before, inside and behind the plane; every bit pattern is copied."""
    for width, pitch, stride in ((5, 9, 1), (5, 3, 2), (16, 10, 2), (17, 20, 2), (33, 12, 3), (40, 40, 1), (1, 1, 4)):
        origins = [(dy, dx) for dy in (-3, 0, 2, 9) for dx in (-width - 4, -2, 0, 1, width - 1, width + 2)]
        yield direct(
            "planes", [special(random, 2, 4, width)], [((2 * len(origins) * 3 * pitch + 5,), "f32")],
            channels=2, height=4, width=width, x_plane=4 * width, rows=3, pitch=pitch, stride_y=2, stride_x=stride,
            phases=len(origins),
            dy=tuple(y for y, _ in origins), dx=tuple(x for _, x in origins), slack=5,
            label=f"width {width} pitch {pitch} stride {stride}",
        )  # fmt: skip
