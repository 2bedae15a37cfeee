"""conv_transpose: strides, borders, groups, images and every epilogue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.kernels.cases import SIZES, Case, lowered, normal, unbounded
from tests.kernels.harness import kernel_test, sums
from tests.kernels.test_spmm import ACTIVATIONS


def terms(case: Case) -> int:
    a = case.attrs
    return int(a["in_channels"] // a["groups"] * a["kernel_y"] * a["kernel_x"])


def deconv(random: np.random.Generator, shape: tuple[int, ...], w: tuple[int, ...], **attrs: Any) -> list[Case]:
    bias = normal(random, w[1] * attrs.get("group", 1))
    return lowered("ConvTranspose", normal(random, *shape), normal(random, *w), bias, constants=(1, 2), **attrs)


@kernel_test("conv_transpose", bound=sums(terms))
def test_conv_transpose(random: np.random.Generator) -> Iterator[Case]:
    for width in SIZES:
        for stride in (1, 2):
            yield from deconv(random, (1, 2, 2, width), (2, 3, 3, 3), strides=[stride, stride], pads=[1, 1, 1, 1])
    for stride in (1, 2, 3):
        for kernel in (1, 2, 4, 5):
            yield from deconv(random, (2, 3, 4, 5), (3, 2, kernel, kernel), strides=[stride, stride])
        yield from deconv(random, (1, 4, 5, 3), (4, 2, 3, 2), strides=[stride, 1], group=2, dilations=[2, 3])
        yield from deconv(random, (1, 3, 7), (3, 2, 4), strides=[stride], pads=[1, 2])
        yield from deconv(
            random, (1, 2, 5, 6), (2, 2, 3, 3), strides=[stride, 2], output_padding=[stride - 1, 1], pads=[1, 0, 0, 1]
        )  # fmt: skip
    yield from deconv(random, (1, 2, 5, 6), (2, 2, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER")
    yield from deconv(random, (1, 2, 5, 6), (2, 2, 3, 3), strides=[2, 2], output_shape=[11, 13])
    yield from deconv(random, (1, 2, 3, 3), (2, 2, 5, 5), pads=[3, 3, 3, 3])


@kernel_test("conv_transpose", bound=sums(terms))
def test_epilogues(random: np.random.Generator) -> Iterator[Case]:
    """Each activation, a slope per channel, no bias, NaN and infinities."""
    for act, bounds in ACTIVATIONS.items():
        yield from deconv(random, (1, 3, 4, 5), (3, 2, 3, 3), strides=[2, 2], es_act=act, **bounds)
    inputs = [normal(random, 2, 3, 4, 5), normal(random, 3, 2, 2, 2), normal(random, 2), normal(random, 2, 1, 1)]
    yield from lowered("ConvTranspose", *inputs, constants=(1, 2, 3), es_act="prelu", es_slope_input=3)
    x = unbounded(random, 1, 3, 4, 5)
    yield from lowered("ConvTranspose", x, inputs[1], constants=(1,), strides=[2, 2])
