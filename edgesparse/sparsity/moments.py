"""Second moments of a layer on calibration samples: all that masks and reconstruction need to know of them.

A layer is seen as ``y = W a``: ``a`` are the inputs of one output position (for a convolution a patch, im2col), with a
last entry of 1 where the layer has a bias. ``H = E[a a']`` is the Hessian of the squared output error up to a factor
of 2 ("Optimal Brain Compression: A Framework for Accurate Post-Training Quantization and Pruning"), ``G = E[y a']``
says what the outputs should be. They are sums over samples, so that samples stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgesparse.passes.match import attribute_float, attribute_int, attribute_string
from edgesparse.types import Array, Shape

Matrix = NDArray[np.float64]
DAMPING = 0.01
"""This share of H's diagonal is added to it in every solution (SparseGPT adds as much of its mean).

At least 1e-5 of the mean, for inputs that are nearly always 0. In float64 no factorisation fails with that, whatever
the samples: rounding is 1e-16 of a sum of some thousand such terms. So there is no trying again with more.
"""
POSITIONS = 1 << 16
"""About so many output positions of a batch are used; of larger planes an even selection."""


@dataclass(frozen=True)
class Moments:
    """``h`` (K, K), ``g`` (Co, K) and ``energy`` (Co,) = E[y y]; ``bias``: column K - 1 of both is that of the bias."""

    h: Matrix
    g: Matrix
    energy: Matrix
    bias: bool

    @property
    def columns(self) -> int:
        """How many weights a row has, the bias apart."""
        return len(self.h) - self.bias

    @cached_property
    def ridge(self) -> Matrix:
        """(K,): what is added to H's diagonal, also where an input is always 0; nothing for the bias."""
        diagonal = np.diag(self.h)
        mean = float(diagonal[: self.columns].mean()) if self.columns else 0.0
        ridge = DAMPING * np.maximum(diagonal, 1e-3 * mean) if mean > 0 else np.ones(len(diagonal))
        if self.bias:
            ridge[-1] = 0.0
        return ridge

    @cached_property
    def damped(self) -> Matrix:
        return np.asarray(self.h + np.diag(self.ridge))

    def best(self, dense: Matrix) -> Matrix:
        """(Co, K): the weights without any mask that give the smallest error, held near ``dense`` by the damping."""
        return np.asarray(np.linalg.solve(self.damped, (self.g + self.ridge * dense).T).T)

    def error(self, weights: Matrix) -> float:
        """``E|W a - y|^2 / E|y|^2`` of ``weights`` (Co, K)."""
        lost = np.sum((weights @ self.h - 2 * self.g) * weights) + self.energy.sum()
        total = float(self.energy.sum())
        return max(0.0, float(lost)) / total if total else 0.0


class Accumulator:
    """Adds up the moments of one layer, batch after batch. ``bias``: whether the layer has, or may get, one."""

    def __init__(self, bias: bool) -> None:
        self.bias, self.count = bias, 0
        self.h: Matrix | None = None
        self.g: Matrix | None = None
        self.energy: Matrix | None = None

    def add(self, a: Array, y: Array) -> None:
        """``a``: (positions, K without bias), ``y``: (positions, Co)."""
        step = max(1, len(a) // POSITIONS)
        a, y = a[::step].astype(np.float64), y[::step].astype(np.float64)
        if self.bias:
            a = np.concatenate([a, np.ones((len(a), 1))], axis=1)
        h, g, energy = a.T @ a, y.T @ a, np.square(y).sum(axis=0)
        self.h = h if self.h is None else self.h + h
        self.g = g if self.g is None else self.g + g
        self.energy = energy if self.energy is None else self.energy + energy
        self.count += len(a)

    def moments(self) -> Moments:
        assert self.h is not None and self.g is not None and self.energy is not None
        return Moments(self.h / self.count, self.g / self.count, self.energy / self.count, self.bias)


def rows_of(node: ir.Node, weight_index: int, kernel: Shape, x: Array, y: Array) -> Iterator[tuple[Array, Array]]:
    """(``a``, ``y``) as `Accumulator.add` wants them, of one batch of a layer's input ``x`` and output ``y``.

    Conv: columns are (input channel, *kernel position) as in ``weight.reshape(Co, -1)``. Gemm with alpha, and a MatMul
    whose constant comes first, are turned so that y = W a holds for the stored weight seen as (Co, Ci).
    """
    if node.op_type == "Conv":
        for sample in range(len(x)):  # one after the other: patches are many times larger than what they are cut from
            a = patches(x[sample], kernel, _window(node, kernel, x.shape[2:]))
            yield a, y[sample].reshape(y.shape[1], -1).T
    elif node.op_type == "Gemm":
        alpha = attribute_float(node, "alpha", 1.0)
        turned = bool(attribute_int(node, "transA" if weight_index == 1 else "transB", 0))
        yield (alpha * (x.T if turned else x), y) if weight_index == 1 else (alpha * (x if turned else x.T), y.T)
    elif weight_index == 1:
        yield x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    else:
        yield np.moveaxis(x, -2, -1).reshape(-1, x.shape[-2]), np.moveaxis(y, -2, -1).reshape(-1, y.shape[-2])


@dataclass(frozen=True, slots=True)
class Window:
    strides: Shape
    dilations: Shape
    begin: Shape
    end: Shape


def patches(x: Array, kernel: Shape, at: Window) -> Array:
    """im2col of one image (Ci, *plane): (positions, Ci * prod(kernel))."""
    if all(k == 1 for k in kernel) and all(s == 1 for s in at.strides) and not any((*at.begin, *at.end)):
        return np.asarray(x.reshape(len(x), -1).T)
    x = np.pad(x, ((0, 0), *zip(at.begin, at.end, strict=True)))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, at.dilations, strict=True))
    axes = tuple(range(1, x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=axes)
    every = (slice(None), *(slice(None, None, n) for n in (*at.strides, *at.dilations)))
    view = view[every]
    rank = len(kernel)
    moved = np.moveaxis(view, 0, rank)  # (*positions, Ci, *kernel)
    return np.ascontiguousarray(moved).reshape(int(np.prod(moved.shape[:rank])), -1)


def _window(node: ir.Node, kernel: Shape, plane: Shape) -> Window:
    rank = len(kernel)
    ints = {n: tuple(node.attributes[n].as_ints()) for n in ("strides", "dilations", "pads") if n in node.attributes}
    strides, dilations = ints.get("strides", (1,) * rank), ints.get("dilations", (1,) * rank)
    pads = ints.get("pads", (0,) * 2 * rank)
    begin, end = pads[:rank], pads[rank:]
    auto = attribute_string(node, "auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
            for n, s, k, d in zip(plane, strides, kernel, dilations, strict=True)
        ]
        less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
        begin, end = (less, more) if auto == "SAME_UPPER" else (more, less)
    elif auto == "VALID":
        begin = end = (0,) * rank
    return Window(strides, dilations, begin, end)
