"""activation: each function over lengths around the vectors, and at NaN, infinities, zeros and subnormals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgesparse.ops.activation import ACTIVATIONS
from edgesparse.types import Array
from tests.kernels.cases import SIZES, SPECIAL, Case, direct, normal, special
from tests.kernels.harness import EPS, kernel_test

TINY = float(np.finfo(np.float32).tiny)
PARAMETERS = {
    "clip": [(-1.0, 1.0), (0.0, 6.0), (-np.inf, 0.5), (-0.5, np.inf)], "leaky_relu": [(0.01, 0.0), (-0.5, 0.0)],
    "prelu": [(0.25, 0.0)], "hard_sigmoid": [(0.2, 0.5), (1 / 6, 0.5)],
}  # fmt: skip


def bound(case: Case, expected: Sequence[Array]) -> list[Array]:
    """4 ulp; where 1 + erf or 1 + tanh loses digits, 2 eps of the argument; below 2^-126 anything down to 0."""
    name = next(name for name, number in ACTIVATIONS.items() if number == case.attrs["act"])
    x, y = np.abs(case.inputs[0].astype(np.float64)), expected[0]
    if name in ("none", "relu", "clip"):
        return [np.zeros_like(x)]
    if name in ("leaky_relu", "prelu"):
        return [np.spacing(np.abs(y))]
    if name == "hard_sigmoid":
        return [2 * EPS * (x * abs(case.attrs["lo"]) + abs(case.attrs["hi"]))]
    allowed = 4 * np.spacing(np.abs(y)) + TINY * (1 + x)
    return [allowed + 2 * EPS * x if name in ("hard_swish", "gelu", "gelu_tanh") else allowed]


@kernel_test("activation", bound=bound)
def test_activation(random: np.random.Generator) -> Iterator[Case]:
    for name, act in ACTIVATIONS.items():
        for lo, hi in PARAMETERS.get(name, [(0.0, 0.0)]):
            label = f"{name} lo={lo} hi={hi}"
            inputs = [normal(random, n) for n in SIZES]
            inputs += [SPECIAL, special(random, 200), np.linspace(-100, 100, 4001, dtype=np.float32)]
            inputs += [np.geomspace(1e-45, 3e38, 1000).astype(np.float32) * sign for sign in (1, -1)]
            for x in inputs:
                yield direct(
                    "activation", [x], [(x.shape, "f32")], size=x.size, act=act, lo=lo, hi=hi,
                    label=f"{label}, {x.size} numbers",
                )  # fmt: skip
