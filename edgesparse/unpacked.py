"""The weights of a layer as (output channels, input channels, *kernel), out of weights.bin."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
from numpy.typing import NDArray

from edgesparse.manifest import Layer
from edgesparse.ops.entry import BLOCK
from edgesparse.ops.winograd import transforms
from edgesparse.types import DTYPES, Array
from edgesparse.winograd_layout import GROUP

Weight = NDArray[np.float32]


def arrays(layer: Layer, weights: bytes) -> dict[str, Array]:
    """The constants of ``layer`` by C parameter, flat. ``weights`` is the content of weights.bin."""
    found: dict[str, Array] = {}
    for s in layer.stored:
        dtype = DTYPES[s.dtype]
        found[s.parameter] = np.frombuffer(weights, dtype, s.bytes // dtype.itemsize, s.offset)
    return found


def weight_of(layer: Layer, weights: bytes) -> Weight | None:
    """The weights of ``layer``, shape ``layer.weight_shape``; None where it has none or its packing is not known here.

    Exact, but for Winograd's transformed weights: those come back to about 1e-6 of the largest.
    """
    if not layer.weight_shape or 0 in layer.weight_shape:
        return None
    kept = arrays(layer, weights)
    stem = layer.kernel.removeprefix("es_")
    try:
        if {"w", "offset", "start"} <= set(kept) and stem.startswith(("spmm", "spmv")):
            return _blocks(layer, kept)
        if stem.startswith("winograd"):
            return _winograd(layer, kept["w"])
        if stem.startswith("entry"):
            return _entry(layer, kept["w"])
        if stem.startswith("depthwise"):
            return kept["w"].astype(np.float32).reshape(layer.weight_shape)
    except (KeyError, ValueError, IndexError):  # a packing of another version
        return None
    return None


def _blocks(layer: Layer, kept: Mapping[str, Array]) -> Weight:
    """As `ops.packing.pack` wrote them: (entries, MR) values, an offset for each entry, where each block starts."""
    channels, inputs, taps = *layer.weight_shape[:2], prod(layer.weight_shape[2:])
    start = kept["start"]
    blocks, entries = len(start) - 1, int(start[-1])
    rows = len(kept["w"]) // entries if entries else 1
    column = np.add.outer(np.arange(inputs) * layer.plane_bytes, np.asarray(layer.tap_bytes)).reshape(-1)
    order = np.argsort(column, kind="stable")
    at = order[np.searchsorted(column, kept["offset"][:entries], sorter=order)]
    out = np.zeros((max(blocks * rows, channels), inputs * taps), np.float32)
    block = np.repeat(np.arange(blocks), np.diff(start))
    out.reshape(-1, rows, inputs * taps)[block, :, at] = kept["w"].reshape(entries, rows) if entries else 0
    return out[:channels].reshape(layer.weight_shape)


def _winograd(layer: Layer, packed: Array) -> Weight:
    """[N * N][blocks][inputs][height] for each group of output channels -> G+ u G+' for every pair of channels."""
    channels, inputs = layer.weight_shape[:2]
    height, tile = map(int, layer.kernel.partition("__")[0].rpartition("_")[2].split("x"))  # es_winograd_f32_4x2
    products, rows = (tile + 2) ** 2, -(-channels // height) * height
    parts, at = [], 0
    for begin in range(0, rows, GROUP):
        count = min(GROUP, rows - begin)
        part = packed[at : at + products * count * inputs].reshape(products, count // height, inputs, height)
        parts.append(part.transpose(1, 3, 2, 0).reshape(count, inputs, products))
        at += part.size
    spread = np.concatenate(parts)[:channels].reshape(channels, inputs, tile + 2, tile + 2).astype(np.float64)
    back = np.linalg.pinv(transforms(tile)[2])
    found: Weight = (back @ spread @ back.T).astype(np.float32).reshape(layer.weight_shape)
    return found


def _entry(layer: Layer, packed: Array) -> Weight:
    """From (blocks, kernel_y, in_channels, kernel_x, BLOCK)."""
    channels, inputs, height, width = layer.weight_shape
    ordered = packed.reshape(-1, height, inputs, width, BLOCK).transpose(0, 4, 2, 1, 3)
    return np.ascontiguousarray(ordered.reshape(-1, inputs, height, width)[:channels], np.float32)
