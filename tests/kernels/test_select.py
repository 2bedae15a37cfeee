"""select and quantise: lists of active inputs, and groups of bytes, the same bits everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgesparse.types import Array
from tests.kernels.cases import SIZES, Case, direct, normal
from tests.kernels.harness import kernel_test


def selected(x: Array, threshold: Array) -> Case:
    room = (-(-x.size // 32) * 32,)
    outputs = [(room, "i32"), (room, "f32"), ((1,), "i32")]
    return direct("select", [x, threshold], outputs, n=x.size, per_channel=int(threshold.size > 1))


@kernel_test("select")
def test_select(random: np.random.Generator) -> Iterator[Case]:
    for n in (*SIZES, 1000):
        x = normal(random, n)
        for threshold in (0.0, 0.7, 2.0, 100.0):
            yield selected(x, np.array([threshold], np.float32))
        yield selected(x, np.abs(normal(random, n)) if n > 1 else np.array([0.5], np.float32))
    x = np.array([0, -0.0, 1e-40, -1e-40, 0.5, -0.5, np.nextafter(np.float32(0.5), np.float32(1))], np.float32)
    for threshold in (0.0, 0.5):  # what is as large as the threshold is skipped
        yield selected(x, np.array([threshold], np.float32))


def quantised(value: Array) -> Case:
    groups = -(-value.size // 32)
    return direct(
        "quantise", [value], [((groups * 32,), "i8"), ((groups,), "f32"), ((groups,), "i32")], count=value.size
    )


@kernel_test("quantise")
def test_quantise(random: np.random.Generator) -> Iterator[Case]:
    for n in (*SIZES, 1000):
        yield quantised(normal(random, n))
    yield quantised(np.zeros(40, np.float32))
    yield quantised(np.concatenate([np.zeros(32), normal(random, 33)]).astype(np.float32))
    ties = np.arange(-127, 128, dtype=np.float32) / 2  # halves are rounded to even numbers, the largest is 127
    for begin in range(0, ties.size, 31):
        yield quantised(np.append(ties[begin : begin + 31], np.float32(127)))
    for size in (1e-45, 1e-43, 2.7e-43, 1e-40, 1e-38, 1e38, 3.4e38):  # scales that are subnormal are not exact
        yield quantised((random.uniform(-1, 1, 64) * size).astype(np.float32))
        yield quantised(np.full(5, -size, np.float32))
