"""Dense 3x3 convolutions of stride 1 with a fraction of the multiplications.

After Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", https://arxiv.org/abs/1509.09308: 4x4
outputs cost 36 products for each pair of channels instead of 144, 2x2 outputs 16 instead of 36. Input and output are
transformed by the kernel, the weights here. The transformed weights have no zeros: what was pruned comes back, so that
this competes with `spmm` only where few weights are zero. They take 4 or 16/9 times the memory.

Rounding errors are larger than those of the plain sum: about 3e-6 of the largest output, see `POINTS`. An infinity or
NaN spreads over the tile it is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesparse.ops.cost import winograd_us
from edgesparse.types import Array, Binding, Machine, OpCall
from edgesparse.winograd_layout import GROUP, transformed

POINTS: Mapping[int, tuple[float, ...]] = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.75, -0.75, 1.5, -1.5)}
"""Where the polynomials are evaluated, beside infinity, by outputs of a tile in one dimension.

The textbook's 0, +-1 and +-2 have three times the error of these: the powers of the points are factors of the sums.
winograd_tile_f32.h has the same numbers.
"""

FEWEST_CHANNELS = 8  # below, the transforms take longer than the products save
APART = 16  # ES_APART in winograd_f32.h
WIDTHS = (1, 4, 8, 16)  # of vectors, any of which may run with this packing
HEIGHTS: Mapping[str, tuple[int, ...]] = {"neon": (8, 4)}  # of blocks of output channels that have a kernel; else 4
# Tiles of a chunk: U of 128 input channels, and M of a group of output channels, fit into a cache of 512 KB. Three
# vectors are what the register tile takes (NV); on AVX-512 that is twice as many tiles, and caches are larger.
TILES_AT_ONCE: Mapping[str, int] = {"avx512": 48}


def transforms(tile: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(A^T, B^T, G) with ``y = A^T ((G g) * (B^T d))``: ``tile`` outputs y, from d by the taps g[0], g[1], g[2]."""
    points = POINTS[tile]
    size = len(points) + 1
    back = np.zeros((tile, size))
    back[:, :-1] = np.array(points) ** np.arange(tile)[:, None]
    back[-1, -1] = 1
    forth, weights = np.zeros((size, size)), np.zeros((size, 3))
    for row, point in enumerate(points):
        others = [p for p in points if p != point]
        forth[row, :-1] = np.poly(others)[::-1]
        weights[row] = point ** np.arange(3) / np.prod([point - p for p in others])
    forth[-1] = np.poly(points)[::-1]
    weights[-1, 2] = 1
    return back, forth, weights


def bind_winograd(call: OpCall, weight: Array, names: Mapping[str, str | None], machine: Machine) -> list[Binding]:
    """Bindings of an spmm ``call`` if it is a 3x3 convolution of stride 1: one per size of tile and block height.

    ``weight`` is (channels, 9 inputs); ``names`` of the tensors by C parameter.
    """
    a: dict[str, Any] = dict(call.attrs)
    channels, inputs, pixels = a["channels"], a["in_channels"], a["plane"]
    pitch = a["tap"][3] if len(a["tap"]) == 9 else 0
    if pitch < 2 or a["tap"] != tuple(y * pitch + x for y in range(3) for x in range(3)):
        return []
    if min(channels, inputs) < FEWEST_CHANNELS or pixels == 1:
        return []
    # rows laid end to end, rows without anything between them, or one by one: see `spmm`
    columns = a["valid"] or (min(pitch, pixels) if a["rows"] == 1 else a["columns"])
    rows = pixels // columns
    same = ("images", "in_channels", "channels", "x_plane", "y_plane", "residual_plane", "act", "lo", "hi")
    found = []
    for tile in POINTS:
        tiles = a["images"] * -(-rows // tile) * -(-columns // tile)
        chunks = -(-tiles // TILES_AT_ONCE.get(machine.isa, 24))
        products = (tile + 2) ** 2
        traffic = 4 * (a["images"] * (inputs * a["x_plane"] + channels * pixels) + products * inputs * channels)
        for height in HEIGHTS.get(machine.isa, (4,)):
            w = f"{call.name}.w{tile}x{height}"
            us = winograd_us(machine, height, products, tiles, chunks, inputs, channels, traffic)
            found.append(
                Binding(
                    "winograd_f32",
                    {
                        **{key: a[key] for key in same}, **names, "w": w, "rows": rows, "columns": columns,
                        "x_pitch": pitch, "chunks": chunks, "group": GROUP,
                        "begin": 0, "end": chunks * -(-channels // GROUP),
                    },
                    pack=partial(_packed, weight, tile, height, w), tiles={"MR": height, "M": tile},
                    scratch_bytes=4 * scratch_floats(tile, tiles, chunks, inputs), predicted_us=us, dense_us=us,
                    macs=products * tiles * inputs * -(-channels // height) * height,
                    reason=f"Winograd: {products} products for {tile}x{tile} outputs instead of {9 * tile * tile}",
                )
            )  # fmt: skip
    return found


def scratch_floats(tile: int, tiles: int, chunks: int, in_channels: int) -> int:
    """What the layout in winograd_f32.h takes, with vectors of the width that takes most."""
    size, positions = 0, (tile + 2) ** 2
    for width in WIDTHS:
        lanes = ceil(ceil(tiles / width) / chunks) * width
        transforms_floats = positions * (lanes + 8) + tile * tile * lanes
        size = max(size, transforms_floats + positions * (in_channels * lanes + APART) + GROUP * positions * lanes)
    return size


def _packed(weight: Array, tile: int, height: int, name: str) -> dict[str, Array]:
    _, _, g = transforms(tile)
    return {name: transformed(weight.reshape(weight.shape[0], -1, 3, 3), g, height)}
