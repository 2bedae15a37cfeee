"""depthwise: every width, kernel size, stride, multiplier and epilogue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.kernels.cases import SIZES, Case, lowered, normal, padded, unbounded
from tests.kernels.harness import kernel_test, sums
from tests.kernels.test_spmm import ACTIVATIONS

bound = sums(lambda case: case.inputs[1].shape[1])


def depthwise(
    random: np.random.Generator, shape: tuple[int, ...], kernel: tuple[int, ...], multiplier: int = 1, **attrs: Any
) -> list[Case]:
    channels = shape[1] * multiplier
    w, bias = normal(random, channels, 1, *kernel), normal(random, channels)
    return lowered("Conv", normal(random, *shape), w, bias, constants=(1, 2), group=shape[1], **attrs)


@kernel_test("depthwise", bound=bound, kernels=("depthwise", "depthwise_square"))
def test_widths(random: np.random.Generator) -> Iterator[Case]:
    """3x3 with stride 1, 2 and 3 over rows of every length."""
    for width in (*SIZES, 112, 130):
        for stride in (1, 2, 3):
            yield from depthwise(random, (1, 2, 3, width), (3, 3), pads=[1, 1, 1, 1], strides=[stride, stride])


@kernel_test("depthwise", bound=bound, kernels=("depthwise", "depthwise_square"))
def test_windows(random: np.random.Generator) -> Iterator[Case]:
    """Kernels of every size, borders of every kind, images, multipliers, 1-D."""
    for size in ((1, 1), (2, 3), (7, 7), (9, 20), (4, 40)):
        for kernel in (1, 2, 3, 4, 5, 7):
            pad = [kernel // 2] * 4
            yield from depthwise(random, (2, 3, *size), (kernel, kernel), pads=pad)
            yield from depthwise(random, (1, 2, *size), (kernel, kernel), pads=pad, strides=[2, 2])
    yield from depthwise(random, (1, 2, 9, 9), (3, 3))
    yield from depthwise(random, (1, 2, 9, 40), (3, 3), strides=[2, 2])
    yield from depthwise(random, (2, 3, 6, 6), (3, 3), 2, pads=[1, 1, 1, 1])
    yield from depthwise(random, (1, 2, 9, 11), (3, 3), pads=[2, 2, 2, 2], dilations=[2, 2])
    yield from depthwise(random, (1, 2, 9, 33), (5, 5), pads=[4, 4, 4, 4], dilations=[2, 2], strides=[2, 1])
    yield from depthwise(random, (1, 2, 8, 9), (2, 3), pads=[0, 2, 1, 0])
    yield from depthwise(random, (1, 2, 5, 6), (5, 5), auto_pad="SAME_UPPER", strides=[2, 2])
    yield from depthwise(random, (1, 2, 5, 6), (4, 4), auto_pad="SAME_LOWER", strides=[2, 3])
    yield from depthwise(random, (2, 3, 50), (9,), pads=[4, 4])
    yield from depthwise(random, (2, 3, 50), (3,), pads=[1, 1], strides=[2])
    yield from depthwise(random, (1, 2, 3, 3), (7, 7), pads=[6, 6, 6, 6])


@kernel_test("depthwise", bound=bound, kernels=("depthwise", "depthwise_square"))
def test_channels(random: np.random.Generator) -> Iterator[Case]:
    """Many channels: those in the middle are read where they are, their neighbours' pixels must not get in."""
    for size in ((1, 3), (3, 3), (7, 7), (9, 14), (6, 33)):
        for kernel in (3, 5):
            for stride in (1, 2):
                one_sided = [0, 0, kernel - 1, kernel - 1]
                for pads in ([kernel // 2] * 4, one_sided, one_sided[::-1], [1, 0, 2, 4]):
                    yield from depthwise(random, (2, 9, *size), (kernel, kernel), pads=pads, strides=[stride, stride])


@kernel_test("depthwise", bound=bound, kernels=("depthwise", "depthwise_square"))
def test_pitches(random: np.random.Generator) -> Iterator[Case]:
    """Planes that lie apart."""
    for size in ((1, 3), (3, 3), (7, 7), (9, 14)):
        for kernel, stride in ((3, 1), (3, 2), (5, 1), (4, 3)):
            for pitch in (1, 15, 20):
                pads = [kernel // 2] * 4
                cases = depthwise(random, (2, 4, *size), (kernel, kernel), pads=pads, strides=[stride, stride])
                yield from (padded(case, pitch) for case in cases)


@kernel_test("depthwise", bound=bound, kernels=("depthwise", "depthwise_square"))
def test_epilogues(random: np.random.Generator) -> Iterator[Case]:
    """Each activation, and a slope per channel, on short and long rows."""
    for width in (5, 70):
        for act, bounds in ACTIVATIONS.items():
            yield from depthwise(random, (2, 3, 4, width), (3, 3), pads=[1, 1, 1, 1], es_act=act, **bounds)
        inputs = [
            normal(random, 1, 3, 4, width),
            normal(random, 6, 1, 3, 3),
            normal(random, 6),
            normal(random, 6, 1, 1),
        ]
        yield from lowered("Conv", *inputs, constants=(1, 2, 3), group=3, es_act="prelu", es_slope_input=3)


@kernel_test("depthwise", bound=bound, kernels=("depthwise", "depthwise_square"))
def test_infinities(random: np.random.Generator) -> Iterator[Case]:
    """NaN and infinities reach the outputs whose window holds them, and no others."""
    for width in (1, 6, 40):
        x, w = unbounded(random, 1, 2, 5, width), normal(random, 2, 1, 3, 3)
        yield from lowered("Conv", x, w, constants=(1,), group=2, pads=[1, 1, 1, 1])
        yield from lowered("Conv", x, w, constants=(1,), group=2, pads=[1, 1, 1, 1], strides=[2, 2], es_act="relu")
        yield from lowered("Conv", x, normal(random, 2, 1, 5, 5), constants=(1,), group=2, pads=[2, 2, 2, 2])
