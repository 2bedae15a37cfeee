"""entry: every kernel size, stride and border, channels first and last, short rows and long ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from edgesparse.ops.entry import ALWAYS
from tests.kernels.cases import SIZES, Case, lowered, normal, padded, unbounded
from tests.kernels.harness import kernel_test, sums
from tests.kernels.test_spmm import ACTIVATIONS

bound = sums(lambda case: prod(case.inputs[1].shape[1:]))


def entry(
    random: np.random.Generator, shape: tuple[int, ...], outputs: int, kernel: tuple[int, ...], *, slope: bool = False,
    **attrs: Any,
) -> Iterator[Case]:  # fmt: skip
    """The call as it is lowered, for channels first, and the same for channels last."""
    inputs = [normal(random, *shape), normal(random, outputs, shape[1], *kernel), normal(random, outputs)]
    if slope:
        attrs["es_act"], attrs["es_slope_input"] = "prelu", 3
        inputs.append(normal(random, outputs, 1, 1))
    yield from both_layouts(*lowered("Conv", *inputs, constants=range(1, len(inputs)), isas=tuple(ALWAYS), **attrs))


def both_layouts(case: Case) -> Iterator[Case]:
    assert case.call.op == "entry"
    yield case
    a, name = case.attrs, case.call.inputs[0]
    channels, pixels = a["in_channels"], a["height"] * a["width"]
    attrs = {**a, "x_image": channels * pixels, "x_channel": 1, "x_row": a["width"] * channels, "x_pixel": channels}
    turned = case.values[name].reshape(-1, channels, pixels).transpose(0, 2, 1)
    values = {**case.values, name: np.ascontiguousarray(turned)}
    call = replace(case.call, attrs=attrs)
    yield replace(case, label=f"{case.label}, channels last", call=call, values=values)


@kernel_test("entry", bound=bound)
def test_widths(random: np.random.Generator) -> Iterator[Case]:
    """Rows of every length: tiles at one border, at both, and between them."""
    for width in (*SIZES, 95, 111, 112, 113, 130, 224):
        for stride in (1, 2, 3):
            yield from entry(random, (1, 2, 4, width), 16, (3, 3), pads=[1, 1, 1, 1], strides=[stride, stride])


@kernel_test("entry", bound=bound)
def test_windows(random: np.random.Generator) -> Iterator[Case]:
    """Kernels of every size, borders of every kind, images, 1-D."""
    for size in ((1, 1), (2, 3), (7, 7), (9, 20), (4, 40), (30, 2)):
        for kernel in ((1, 7), (2, 1), (2, 2), (3, 3), (4, 5), (5, 5), (7, 7), (10, 4)):
            pad = [kernel[0] // 2, kernel[1] // 2, (kernel[0] - 1) // 2 + 1, (kernel[1] - 1) // 2 + 1]
            yield from entry(random, (2, 3, *size), 12, kernel, pads=pad)
            yield from entry(random, (1, 1, *size), 16, kernel, pads=pad, strides=[2, 2])
    yield from entry(random, (1, 3, 20, 50), 16, (7, 7), pads=[3, 3, 3, 3], strides=[2, 2])
    yield from entry(random, (1, 3, 19, 51), 16, (3, 3), strides=[2, 2])
    yield from entry(random, (1, 3, 9, 33), 16, (3, 3))
    yield from entry(random, (1, 2, 8, 9), 16, (2, 3), pads=[0, 2, 1, 0])
    yield from entry(random, (1, 4, 8, 60), 16, (2, 4), pads=[0, 3, 1, 0])
    yield from entry(random, (1, 1, 49, 10), 16, (10, 4), auto_pad="SAME_UPPER", strides=[2, 2])
    yield from entry(random, (1, 2, 5, 6), 16, (4, 4), auto_pad="SAME_LOWER", strides=[2, 3])
    yield from entry(random, (1, 2, 3, 3), 16, (7, 7), pads=[6, 6, 6, 6])
    yield from entry(random, (1, 2, 3, 3), 16, (3, 3), pads=[9, 8, 7, 6], strides=[1, 2])
    yield from entry(random, (1, 3, 32, 64), 16, (16, 16), strides=[16, 16])
    yield from entry(random, (2, 3, 50), 16, (9,), pads=[4, 4])
    yield from entry(random, (2, 3, 50), 16, (3,), pads=[1, 1], strides=[2])


@kernel_test("entry", bound=bound)
def test_anything(random: np.random.Generator) -> Iterator[Case]:
    """Geometries that nobody chose."""
    for _ in range(100):
        kernel = tuple(int(k) for k in random.integers(1, 8, 2))
        if kernel == (1, 1):
            continue
        pads = [int(random.integers(0, k + 1)) for k in (*kernel, *kernel)]
        size = [max(int(random.integers(1, n)), k) for n, k in zip((15, 120), kernel, strict=True)]
        shape = (int(random.integers(1, 3)), int(random.integers(1, 5)), *size)
        strides = [int(s) for s in random.integers(1, 4, 2)]
        yield from entry(random, shape, int(random.integers(1, 40)), kernel, pads=pads, strides=strides)


@kernel_test("entry", bound=bound)
def test_channels(random: np.random.Generator) -> Iterator[Case]:
    """Blocks that are full and not, and every number of input channels."""
    for outputs in (12, 13, 16, 24, 31, 32, 46, 64):
        for inputs in (1, 2, 3, 4):
            for width in (5, 21):
                yield from entry(random, (1, inputs, 5, width), outputs, (3, 3), pads=[1, 1, 1, 1])


@kernel_test("entry", bound=bound)
def test_pitches(random: np.random.Generator) -> Iterator[Case]:
    """Planes of the output that lie apart."""
    for size in ((1, 3), (3, 3), (7, 7), (9, 14), (20, 100)):
        for pitch in (1, 7, 16, 33):
            cases = entry(random, (2, 3, *size), 28, (3, 3), pads=[1, 1, 1, 1])
            yield from (padded(case, pitch) for case in cases)


@kernel_test("entry", bound=bound)
def test_epilogues(random: np.random.Generator) -> Iterator[Case]:
    """Each activation, and a slope per channel, on short and long rows."""
    for width in (5, 70):
        for act, bounds in ACTIVATIONS.items():
            yield from entry(random, (2, 3, 4, width), 15, (3, 3), pads=[1, 1, 1, 1], es_act=act, **bounds)
        yield from entry(random, (2, 3, 4, width), 15, (3, 3), pads=[1, 1, 1, 1], slope=True)


@kernel_test("entry", bound=bound)
def test_infinities(random: np.random.Generator) -> Iterator[Case]:
    """NaN and infinities reach the outputs whose window holds them, and no others."""
    for width in (1, 6, 40):
        for stride in (1, 2):
            x, w = unbounded(random, 1, 2, 5, width), normal(random, 16, 2, 3, 3)
            attrs: dict[str, Any] = {"pads": [1, 1, 1, 1], "strides": [stride, stride], "es_act": "relu"}
            yield from both_layouts(*lowered("Conv", x, w, constants=(1,), isas=tuple(ALWAYS), **attrs))


@kernel_test("entry", bound=bound)
def test_bands(random: np.random.Generator) -> Iterator[Case]:
    """Some rows of the output: `top` that much less, so that there may be no border, or one of skipped rows."""
    for case in entry(random, (1, 3, 13, 21), 16, (5, 3), pads=[2, 1, 2, 1], strides=[2, 1]):
        for begin, rows in ((0, 2), (1, 1), (3, 2), (5, 2)):
            attrs = {**case.attrs, "top": 2 - 2 * begin, "rows": rows, "y_plane": rows * 21}
            out = replace(case.outputs[0], shape=(1, 16, rows, 21))
            call = replace(case.call, attrs=attrs)
            text = f"{case.label}, rows {begin} to {begin + rows - 1}"
            yield replace(case, label=text, call=call, tensors={**case.tensors, out.name: out})
