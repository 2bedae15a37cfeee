"""cast: every pair of types; what does not fit and NaN."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgesparse.types import MODEL_DTYPES, Array
from tests.kernels.cases import SIZES, SPECIAL, Case, anything, lowered, normal
from tests.kernels.harness import kernel_test


def edges() -> Array:
    """Floats around the limits of every integer type."""
    powers = np.concatenate([2.0**n + np.array([-1.5, -1, -0.5, 0, 0.5, 1]) for n in (7, 8, 31, 32, 63, 64)])
    near = np.concatenate([powers, np.nextafter(powers.astype(np.float32), np.float32(0)), [0.5, 0.99, 1.5]])
    return np.concatenate([near, -near, SPECIAL]).astype(np.float32)


@kernel_test("cast")
def test_cast(random: np.random.Generator) -> Iterator[Case]:
    for source in MODEL_DTYPES:
        for target in MODEL_DTYPES:
            for n in SIZES:
                x = normal(random, n) * 100 if source == "f32" else anything(random, source, n)
                yield from lowered("Cast", x, dtype=target)
            if source == "f32":
                yield from lowered("Cast", edges(), dtype=target)
