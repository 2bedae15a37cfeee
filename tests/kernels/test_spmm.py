"""spmm: convolutions of every geometry, sparsity pattern and epilogue, in tiles of every width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tests.kernels.cases import PATTERNS, SIZES, Case, lowered, normal, padded, pruned, unbounded
from tests.kernels.harness import kernel_test, sums

ACTIVATIONS: dict[str, dict[str, Any]] = {
    "relu": {}, "clip": {"es_lo": -0.25, "es_hi": 0.5}, "leaky_relu": {"es_lo": 0.125}, "hard_swish": {},
    "hard_sigmoid": {"es_lo": 0.2, "es_hi": 0.5}, "silu": {}, "sigmoid": {}, "tanh": {}, "gelu": {}, "gelu_tanh": {},
}  # fmt: skip
"""Every activation an epilogue can have, but prelu, which has an input of its own."""

bound = sums(lambda case: case.inputs[1].shape[1] + case.attrs["mean"] * case.attrs["plane"])


def conv(
    random: np.random.Generator, shape: tuple[int, ...], outputs: int, kernel: tuple[int, ...] = (1, 1), *,
    pattern: str = "unstructured", op: str = "spmm", slope: bool = False, residual: bool = False, **attrs: Any,
) -> Iterator[Case]:  # fmt: skip
    """The calls of contract ``op`` in a Conv of ``shape`` -> ``outputs`` channels."""
    w = pruned(random, pattern, outputs, shape[1] // attrs.get("group", 1), *kernel)
    inputs = [normal(random, *shape), w, normal(random, outputs)]
    known, label = [1, 2], f"Conv {shape} -> {outputs}, kernel {kernel}, {pattern}, {attrs}"
    if slope:
        attrs["es_act"], attrs["es_slope_input"] = "prelu", len(inputs)
        known.append(len(inputs))
        inputs.append(normal(random, outputs, 1, 1))
    if residual:
        plain = lowered("Conv", *inputs[:2], constants=(1,), **{k: v for k, v in attrs.items() if k[:3] != "es_"})
        attrs["es_residual_input"] = len(inputs)
        inputs.append(normal(random, *plain[-1].outputs[0].shape))
    text = f"{label}{', slope' if slope else ''}{', residual' if residual else ''}"
    return (c for c in lowered("Conv", *inputs, constants=known, label=text, **attrs) if c.call.op == op)


@kernel_test("spmm", bound=bound)
def test_pixels(random: np.random.Generator) -> Iterator[Case]:
    """Rows of every length: 1x1 convolutions, several images."""
    for pixels in (*SIZES[1:], 127, 128, 129, 200, 257):
        for pattern in ("dense", "unstructured"):
            yield from conv(random, (2, 5, 1, pixels), 9, pattern=pattern)
    # whole vectors or tiles and one pixel more, or four; blocks that are whole and not
    for pixels in (13, 25, 36, 37, 49, 52, 65, 68, 73, 81, 84, 97, 113, 196):
        for outputs in (3, 6, 8, 13):
            yield from conv(random, (2, 5, 1, pixels), outputs, pattern="rows:4", es_act="clip", es_lo=0.0, es_hi=6.0)


@kernel_test("spmm", bound=bound)
def test_patterns(random: np.random.Generator) -> Iterator[Case]:
    """Every pattern with output channels that do and do not fill the last block."""
    for pattern in PATTERNS:
        for outputs in (1, 2, 3, 4, 7, 8, 16, 17):
            yield from conv(random, (1, 6, 3, 7), outputs, pattern=pattern)
        for inputs in (1, 2, 33):
            yield from conv(random, (1, inputs, 2, 9), 8, pattern=pattern)


@kernel_test("spmm", bound=bound)
def test_windows(random: np.random.Generator) -> Iterator[Case]:
    """Rows of x wider than those of y, short ones (end to end) and long ones (one by one)."""
    for size in ((1, 2), (2, 1), (3, 3), (5, 4), (7, 7), (4, 14), (3, 17), (2, 47), (2, 48), (3, 65)):
        for stride in (1, 2, 3):
            yield from conv(random, (1, 3, *size), 5, (3, 3), pads=[1, 1, 1, 1], strides=[stride, stride])
    yield from conv(random, (2, 3, 9, 9), 5, (3, 3), pads=[1, 1, 1, 1], pattern="dense")
    yield from conv(random, (2, 3, 9, 9), 5, (3, 3))
    yield from conv(random, (1, 3, 9, 8), 5, (5, 5), pads=[2, 2, 2, 2], dilations=[2, 1])
    yield from conv(random, (1, 3, 8, 60), 5, (2, 4), pads=[0, 3, 1, 0], pattern="dense")
    yield from conv(random, (1, 3, 8, 9), 5, (1, 3), auto_pad="SAME_UPPER", strides=[2, 2])
    yield from conv(random, (1, 3, 8, 9), 5, (4, 2), auto_pad="SAME_LOWER", strides=[1, 2])
    yield from conv(random, (2, 6, 5, 5), 8, (3, 3), pads=[1, 1, 1, 1], group=2, pattern="dense")
    yield from conv(random, (2, 4, 33), 6, (5,), pads=[2, 2], strides=[2])
    yield from conv(random, (1, 3, 4, 4), 5, (4, 4), pads=[3, 3, 3, 3], pattern="dense")


@kernel_test("spmm", bound=bound)
def test_pitches(random: np.random.Generator) -> Iterator[Case]:
    """Planes that lie apart, by less than, as much as and more than a vector needs."""
    for size in ((1, 1), (3, 3), (7, 7), (5, 8), (14, 14)):
        for pitch in (1, 3, 7, 15, 16, 33):
            for pads, kernel in (([0] * 4, (1, 1)), ([1] * 4, (3, 3))):
                cases = [
                    *conv(random, (2, 3, *size), 6, kernel, pads=pads),
                    *conv(random, (1, 3, *size), 9, kernel, pads=pads, residual=True, es_act="silu"),
                    *conv(random, (1, 3, *size), 4, kernel, pads=pads, pattern="rows:4", es_act="relu"),
                ]
                yield from (padded(case, pitch) for case in cases if case.attrs["plane"] > 1)


@kernel_test("spmm", bound=bound)
def test_epilogues(random: np.random.Generator) -> Iterator[Case]:
    """Each activation, slope and residual, on whole rows and on rows laid end to end."""
    for shape, kernel, pads in (((2, 4, 3, 11), (1, 1), [0] * 4), ((2, 4, 5, 5), (3, 3), [1] * 4)):
        for pattern in ("dense", "unstructured", "rows:2"):
            for act, bounds in ACTIVATIONS.items():
                yield from conv(random, shape, 6, kernel, pattern=pattern, pads=pads, es_act=act, **bounds)
            yield from conv(random, shape, 6, kernel, pattern=pattern, pads=pads, residual=True)
            yield from conv(random, shape, 6, kernel, pattern=pattern, pads=pads, slope=True)
            yield from conv(random, shape, 7, kernel, pattern=pattern, pads=pads, slope=True, residual=True)
            yield from conv(random, shape, 5, kernel, pattern=pattern, pads=pads, residual=True, es_act="relu")


@kernel_test("spmm", bound=bound)
def test_infinities(random: np.random.Generator) -> Iterator[Case]:
    """NaN and infinities come through where the weight is not zero; no other pixel is touched."""
    for pixels in (2, 5, 16, 37, 130):
        x, w, bias = unbounded(random, 2, 3, 1, pixels), pruned(random, "dense", 8, 3, 1, 1), normal(random, 8)
        yield from lowered("Conv", x, w, bias, constants=(1, 2))
        yield from lowered("Conv", x, w, bias, constants=(1, 2), es_act="relu")
        yield from lowered("Conv", x, w, bias, constants=(1, 2), es_act="clip", es_lo=0.0, es_hi=6.0)
    w[0, 0], w[3, 1], bias[5] = np.inf, np.nan, -np.inf
    yield from lowered("Conv", x, w, bias, constants=(1, 2))


def averaged(case: Case) -> Case:
    """``case`` with the mean of each plane as its result, as `edgesparse.pooled` makes it."""
    name, images = case.call.outputs[0], case.attrs["images"]
    spec = replace(case.tensors[name], shape=(images, case.attrs["channels"], 1, 1), pitch=0)
    call = replace(case.call, attrs={**case.call.attrs, "mean": 1})
    return replace(case, label=f"means of {case.label}", call=call, tensors={**case.tensors, name: spec})


@kernel_test("spmm", bound=bound)
def test_means(random: np.random.Generator) -> Iterator[Case]:
    """Planes of every length, more channels than are averaged at a time, every geometry and epilogue, pitches."""
    for pixels in (*SIZES[1:], 25, 37, 49, 73, 97, 169, 257):
        cases = [
            *conv(random, (2, 5, 1, pixels), 9, es_act="relu"),
            *conv(random, (2, 5, 1, pixels), 70, pattern="rows:4", residual=True),
        ]
        yield from map(averaged, cases)
        yield from (averaged(padded(case, 7)) for case in cases)
    for outputs in (1, 2, 3, 4, 7, 8, 16, 17, 31, 32, 33, 64, 65, 100):
        for pattern in ("dense", "unstructured", "rows:4", "empty rows"):
            yield from map(averaged, conv(random, (1, 6, 7, 7), outputs, pattern=pattern, es_act="relu"))
    for size in ((5, 5), (7, 7), (3, 65)):  # rows end to end, and long ones one by one
        for act, bounds in ACTIVATIONS.items():
            yield from map(averaged, conv(random, (2, 3, *size), 37, (3, 3), pads=[1] * 4, es_act=act, **bounds))
        some: dict[str, Any] = {"slope": True, "residual": True, "pads": [1] * 4}
        yield from map(averaged, conv(random, (2, 3, *size), 37, (3, 3), pattern="dense", **some))
    x, w, bias = unbounded(random, 2, 3, 7, 7), pruned(random, "dense", 40, 3, 1, 1), normal(random, 40)
    x[:, :, 1:] = 0  # some planes have a mean, others do not
    yield from map(averaged, lowered("Conv", x, w, bias, constants=(1, 2)))
