"""The bordered copy of planes that convolutions read, so that every kernel position is an offset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from edgesparse.ops.operator import Contract, register
from edgesparse.ops.window import Window
from edgesparse.types import Array, Attr, TensorSpec


@dataclass(frozen=True)
class Planes:
    """The bordered copy: its phases, their size, and where each kernel position lies in it."""

    phases: tuple[tuple[int, int], ...]
    rows: int
    pitch: int
    dy: tuple[int, ...]
    dx: tuple[int, ...]
    tap: tuple[int, ...]  # floats from the channel's first float, per kernel position
    slack: int
    copied: bool


def planes(win: Window) -> Planes:
    """How to lay out the input of ``win`` so that stride-1 reads are contiguous.

    With stride 1 the right border of a row and the left border of the next share columns.
    """
    (height, width), (stride_y, stride_x) = win.size, win.stride
    (top, left), (bottom, right) = win.before, win.after
    reach_y = (win.kernel[0] - 1) * win.dilation[0]
    reach_x = (win.kernel[1] - 1) * win.dilation[1]
    positions = list(product(range(win.kernel[0]), range(win.kernel[1])))
    offsets = [(ky * win.dilation[0], kx * win.dilation[1]) for ky, kx in positions]
    phases = tuple(sorted({(y % stride_y, x % stride_x) for y, x in offsets}))
    rows = max(win.out[0] + reach_y // stride_y, 1)
    needed = win.out[1] + reach_x // stride_x
    pitch = max(needed, 1)
    copied = any((top, left, bottom, right)) or (stride_y, stride_x) != (1, 1)
    if not copied:
        rows, pitch = height, width
    elif stride_x == 1 and needed == left + width + right and left <= width and right <= width:
        # The last `right` columns of a row are read as the first `left` zeros of the next one.
        pitch = width + max(left, right)
    # Reading on past the last row touches at most this many floats (vectors of 16, and a row).
    slack = reach_x + pitch + 16
    tap = []
    for y, x in offsets:
        phase = phases.index((y % stride_y, x % stride_x))
        tap.append(phase * rows * pitch + (y // stride_y) * pitch + x // stride_x)
    return Planes(
        phases, rows, pitch, tuple(p[0] - top for p in phases), tuple(p[1] - left for p in phases),
        tuple(tap), slack, copied,
    )  # fmt: skip


def reference_planes(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    a: dict[str, Any] = dict(attrs)
    x = inputs[0].reshape(a["channels"], a["x_plane"])[:, : a["height"] * a["width"]]
    x = x.reshape(a["channels"], a["height"], a["width"])
    y = np.zeros((a["channels"], a["phases"], a["rows"], a["pitch"]), x.dtype)
    for f, (dy, dx) in enumerate(zip(a["dy"], a["dx"], strict=True)):
        r = np.arange(a["rows"]) * a["stride_y"] + dy
        q = np.arange(a["pitch"]) * a["stride_x"] + dx
        ok_r, ok_q = (r >= 0) & (r < a["height"]), (q >= 0) & (q < a["width"])
        y[:, f, ok_r[:, None] & ok_q[None, :]] = x[:, r[ok_r]][:, :, q[ok_q]].reshape(a["channels"], -1)
    return [np.concatenate([y.reshape(-1), np.zeros(a["slack"], x.dtype)]).reshape(outputs[0].shape)]


register(
    Contract(
        "planes",
        ("x",),
        ("y",),
        reference_planes,
        pitches=lambda call: [(call.inputs[0], "x_plane")],
        items=lambda a: a["channels"] * a["phases"],
    ),
)
