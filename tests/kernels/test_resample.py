"""resample: weighted sums of a few positions along an axis, as linear and cubic Resize make them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.kernels.cases import SIZES, Case, lowered, normal, unbounded
from tests.kernels.harness import kernel_test, sums

NONE = np.zeros(0, np.float32)


@kernel_test("resample", bound=sums(lambda case: case.attrs["taps"]))
def test_resample(random: np.random.Generator) -> Iterator[Case]:
    for mode in ("linear", "cubic"):
        for n in SIZES:
            scales = np.array([1, 1, 2, 1], np.float32)
            yield from lowered("Resize", normal(random, 1, 2, 3, n), NONE, scales, constants=(1, 2), mode=mode)
        for size in ([2, 2, 7, 9], [2, 2, 3, 2], [2, 2, 1, 40], [2, 2, 4, 5]):
            arrays = [normal(random, 2, 2, 4, 5), NONE, NONE, np.array(size)]
            yield from lowered("Resize", *arrays, constants=(1, 2, 3), mode=mode)
            yield from lowered("Resize", *arrays, constants=(1, 2, 3), mode=mode, antialias=1)
    scales = np.array([1, 1, 1.5, 1], np.float32)
    for n in (1, 5, 33):
        yield from lowered("Resize", unbounded(random, 1, 2, 3, n), NONE, scales, constants=(1, 2), mode="linear")
