"""The stack of int4 layers that is timed beside llama.cpp: what it counts, how it is divided, that it runs."""

from __future__ import annotations

import os
from statistics import NormalDist

import pytest

from bench.llm_int4 import Kernels, Stack, _equal, _inverse_erf
from bench.llm_shape import SHAPES
from edgesparse.devices import load_device


def test_the_shape_of_tinyllama() -> None:
    per_layer = 2 * 2048 * 2048 + 2 * 256 * 2048 + 3 * 2048 * 5632
    assert SHAPES["tinyllama"].weights == 22 * per_layer + 32000 * 2048


@pytest.mark.parametrize("share", [0.7, 0.5, 0.3, 0.01])
def test_so_many_normal_numbers_are_above_the_threshold(share: float) -> None:
    threshold = 2**0.5 * _inverse_erf(1 - share)
    assert 2 * (1 - NormalDist().cdf(threshold)) == pytest.approx(share)


def test_threads_share_all_pieces() -> None:
    for pieces in (1, 2, 7, 128):
        cuts = _equal(pieces, 3)
        assert [i for begin, end in cuts for i in range(begin, end)] == list(range(pieces))


@pytest.mark.parametrize(
    ("layout", "active", "bits"), [("dense", 1.0, 4.5), ("blocks", 0.5, 2.625), ("columns", 0.5, 2.25)]
)
def test_a_token_reads_as_many_bytes_as_its_layout_has(layout: str, active: float, bits: float) -> None:
    shape = SHAPES["tiny"]
    stack = Stack(Kernels(load_device("host").target.isas[-1]), shape, layout, active, 1)
    padding = 1.3 if layout == "columns" else 1.0  # k and v of 64 outputs, up and gate of 352, in strips of 128
    head = shape.vocabulary * shape.dim * 4.5 / 8 if layout == "columns" else 0.0
    inner = (shape.weights - (shape.vocabulary * shape.dim if head else 0)) * bits / 8
    assert 0.95 * (inner + head) <= stack.bytes <= 1.05 * (padding * inner + head)
    assert len(stack.seconds([min(os.sched_getaffinity(0))], 2)) == 2
