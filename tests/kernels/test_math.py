"""Accuracy of kernels_common/math_f32.h over a sweep of all float32: every exponent, both signs, NaN, infinities."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import erf
from pathlib import Path

import numpy as np
import pytest

from edgesparse.kernels import ISAS
from edgesparse.types import Array, Kernel
from tests.kernels import machine
from tests.kernels.harness import skip_unavailable
from tests.kernels.machine import INPUT, OUTPUT, Argument, Buffer, Run

PARAMETERS = (("const float *", "x"), ("float *", "y"), ("int64_t", "size"), ("int64_t", "f"))
PROBES = {
    isa: Kernel(
        f"es_probe_f32__{isa}", "probe_f32", "probe", "f32", isa, Path(__file__).parent / "math_probe.c", {}, PARAMETERS
    )
    for isa in ISAS
}
machine.EXTRA.extend(PROBES.values())
TINY = float(np.finfo(np.float32).tiny)

# Reference, largest error in units of the last place, and an absolute error allowed besides.
FUNCTIONS: dict[str, tuple[Callable[[Array], Array], float, float]] = {
    "exp": (np.exp, 1.2, 0.0),
    "log": (np.log, 1.0, 0.0),
    "tanh": (np.tanh, 1.5, 0.0),
    "erf": (np.vectorize(erf, otypes=[np.float64]), 1.7, 0.0),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 2.5, TINY),
}


@cache
def sweep() -> Array:
    """One float32 in 2053 of all bit patterns, and where the functions are interesting in steps of less than 1e-3."""
    everywhere = np.arange(0, 2**32, 2053, dtype=np.uint64).astype(np.uint32).view(np.float32)
    inner = [np.linspace(-a, a, 300001) for a in (1.0, 10.0, 110.0)]
    near_one = 1 + np.geomspace(1e-7, 1, 20000)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, TINY, 1.0, -1.0, 0.625, -0.625])
    return np.concatenate([everywhere, *(np.float32(a) for a in (*inner, near_one, 1 / near_one, special))])


@cache
def reference(name: str) -> Array:
    with np.errstate(all="ignore"):
        return FUNCTIONS[name][0](sweep().astype(np.float64))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_accuracy(name: str, isa: str) -> None:
    skip_unavailable(isa)
    x, wide = sweep(), reference(name)
    arguments = (Argument(0, True), Argument(1, True), Argument(x.size), Argument(list(FUNCTIONS).index(name)))
    run = Run(
        (Buffer("x", INPUT, x.nbytes, x.tobytes()), Buffer("y", OUTPUT, x.nbytes)), ((PROBES[isa], arguments),)
    )  # fmt: skip
    outcome = machine.execute(isa, "probe_f32", [run])[0][0]
    assert outcome.problem == ""
    y = np.frombuffer(outcome.outputs["y"], np.float32)
    with np.errstate(all="ignore"):
        expected = wide.astype(np.float32)
        _, ulps, absolute = FUNCTIONS[name]
        error = np.abs(y - wide)
        allowed = ulps * np.spacing(np.abs(expected)).astype(np.float64) + absolute
        same = (y == expected) | (np.isnan(y) & np.isnan(expected))
        wrong = ~(same | (np.isfinite(y) & np.isfinite(expected) & (error <= allowed)))
        units = error / np.spacing(np.abs(expected))
    if wrong.any():
        worst = np.where(wrong, np.where(np.isfinite(units), units, np.inf), -1).argmax()
        pytest.fail(
            f"{int(wrong.sum())} of {x.size} results of {name} are wrong, the worst at x = {x[worst]!r}: "
            f"{y[worst]!r} for {wide[worst]!r}, {units[worst]:.3g} ulp",
            pytrace=False,
        )
