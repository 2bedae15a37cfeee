"""Weights as the kernels of decoders read them: by input in tiles of outputs (columns), or by output (rows).

Columns serve layers that skip inputs, rows those that skip outputs; both serve dense ones, for which weights of 8 bits
can also be interleaved, which is fastest. Weights of 8 bits are symmetric with a scale an output:
``w = scale (byte - offset)``, ``scale = max |w| / 127``. On x86 the offset is 128, because its instructions multiply
unsigned by signed bytes; elsewhere it is 0 and the bytes are signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesparse.errors import InputError
from edgesparse.types import Array

PIECE = 16
"""The last tile of a matrix is padded to a multiple of so many outputs."""
MAX_TILE = 512
LINE = 64
"""Bytes of a line of the cache."""
SIDE_BY_SIDE = 128
"""Outputs of a tile of bytes, which lie side by side: threads share tiles evenly, also those of small layers beside
large ones."""
ROW_MULTIPLE = 32
"""Rows of bytes are padded to a multiple of so many inputs."""
PANEL = 16
"""Outputs side by side in the interleaved layout."""
OFFSET: Mapping[str, int] = {"x86_64": 128, "aarch64": 0, "wasm32": 0}
"""What is added to weights of 8 bits, by architecture."""
_MOST_F16 = 65504.0


def tiles(outputs: int, tile: int) -> int:
    return -(-outputs // tile)


def tile_for(outputs: int) -> int:
    """How many outputs a tile has: as many as there may be, for the weights of an input that is read are then long runs
    of bytes (measured on a Zen 4, half of the inputs active: 512 outputs 10% faster than 256, 128 much slower), but
    several threads need tiles, too: an even number of them, at least 4, or many."""
    for tile in (512, 256, 128):
        count = tiles(outputs, tile)
        if count >= 16 or (count >= 4 and count % 2 == 0):
            return tile
    return 64


def _widths(outputs: int, tile: int) -> list[tuple[int, int, int]]:
    """(first output, outputs, outputs with padding) of every tile.

    Raises:
        ValueError: the kernels have no such tile.
    """
    if tile % PIECE or not 0 < tile <= MAX_TILE:
        raise ValueError(f"a tile of {tile} outputs: a multiple of {PIECE} up to {MAX_TILE} is needed")
    spans = ((first, min(tile, outputs - first)) for first in range(0, outputs, tile))
    return [(first, own, -(-own // PIECE) * PIECE) for first, own in spans]


def _columns(weight: Array, tile: int) -> NDArray[Any]:
    """(outputs, inputs) -> tiles of (inputs, width) one behind the other, the last padded with zeros."""
    outputs, inputs = weight.shape
    widths = _widths(outputs, tile)
    packed = np.empty(sum(width for *_, width in widths) * inputs, weight.dtype)
    at = 0
    for first, own, width in widths:
        part = packed[at : at + width * inputs].reshape(inputs, width)
        part[:, :own] = weight[first : first + own].T
        part[:, own:] = 0
        at += part.size
    return packed


def halves(weight: Array) -> NDArray[np.float16]:
    """``weight`` as halves.

    Raises:
        InputError: it has weights that are too large for halves, or not finite.
    """
    most = float(np.abs(weight).max(initial=0))
    if not most <= _MOST_F16:
        raise InputError(
            f"a weight of {most:.3g} does not fit into 16 bits",
            where="--weights f16", hint="use --weights f32 or int8",
        )  # fmt: skip
    return weight.astype(np.float16)


def quantise_rows(weight: Array) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(q, scale): ``weight`` is ``q * scale[:, None]`` to half of the scale; q in -127..127.

    Raises:
        InputError: a weight is not finite.
    """
    scale = (np.abs(weight).max(axis=1, initial=0) / np.float32(127)).astype(np.float32)
    if not np.isfinite(scale).all():
        raise InputError("a weight is infinite or no number", where="--weights int8", hint="export the model again")
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    q = np.empty(weight.shape, np.int8)
    rows = max(1, (1 << 20) // max(weight.shape[1], 1))  # what lies in a cache
    for first in range(0, len(weight), rows):
        part = weight[first : first + rows] * inverse[first : first + rows, None]
        np.rint(part, out=part)
        np.clip(part, -127, 127, out=part)  # scales that are subnormal are not exact
        q[first : first + rows] = part
    return q, scale


def _bytes(q: NDArray[np.int8], offset: int) -> NDArray[np.uint8]:
    """-127..127 as what is stored: ``q + offset``, modulo 256."""
    raw: NDArray[np.uint8] = q.view(np.uint8)
    return np.asarray(raw ^ np.uint8(offset))  # for 128 the same as adding it


def columns_f32(weight: Array, tile: int) -> NDArray[np.float32]:
    """For columns_f32: ``w[t][input][width]``, one dimension; ``weight``: (outputs, inputs)."""
    return _columns(weight.astype(np.float32, copy=False), tile)


def columns_f16(weight: Array, tile: int) -> NDArray[np.float16]:
    """For columns_f16, as `columns_f32`. Raises InputError as `halves`."""
    return _columns(halves(weight), tile)


def columns_qc8(weight: Array, tile: int, offset: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """For columns_qc8: (bytes, scale of each output), one dimension: of an input, all outputs are neighbours.

    Raises:
        InputError: as `quantise_rows`.
        ValueError: the kernel has no such tile.
    """
    if tile % LINE:
        raise ValueError(f"a tile of {tile} outputs: a multiple of {LINE} is needed")
    q, scale = quantise_rows(weight)
    outputs, inputs = weight.shape
    packed = np.full((inputs, row_bytes(outputs)), offset, np.uint8)
    packed[:, :outputs] = _bytes(q, offset).T
    return packed.reshape(-1), scale


def row_bytes(outputs: int) -> int:
    """From one input's weights to the next one's, as columns_place_qc8.h says why."""
    whole = -(-outputs // LINE) * LINE
    return whole if whole % 4096 else whole + LINE


def rows_f32(weight: Array) -> NDArray[np.float32]:
    """For rows_f32: one row an output."""
    return np.ascontiguousarray(weight, np.float32)


def rows_f16(weight: Array) -> NDArray[np.float16]:
    """For rows_f16. Raises InputError as `halves`."""
    return np.ascontiguousarray(halves(weight))


def rows_qc8(weight: Array, offset: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """For rows_qc8: (bytes, scale of each output), rows padded to a multiple of 32. Raises as `quantise_rows`."""
    q, scale = quantise_rows(weight)
    outputs, inputs = weight.shape
    packed = np.full((outputs, -(-inputs // ROW_MULTIPLE) * ROW_MULTIPLE), offset, np.uint8)
    packed[:, :inputs] = _bytes(q, offset)
    return packed, scale


def dense_qc8(weight: Array, offset: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """For dense_qc8: (bytes as `interleaved`, scale of each output). Raises InputError as `quantise_rows`."""
    q, scale = quantise_rows(weight)
    return interleaved(q, offset), scale


def interleaved(q: NDArray[np.int8], offset: int) -> NDArray[np.uint8]:
    """Panels of 16 outputs, (outputs / 16, inputs / 4, 16, 4) bytes: [k, o, r] is input 4k+r of output o.

    Outputs are padded to a multiple of 16, inputs to one of 32.
    """
    outputs, inputs = q.shape
    padded = np.full((tiles(outputs, PANEL) * PANEL, tiles(inputs, ROW_MULTIPLE) * ROW_MULTIPLE), offset, np.uint8)
    padded[:outputs, :inputs] = _bytes(q, offset)
    quads = padded.view(np.uint32).reshape(-1, PANEL, padded.shape[1] // 4)
    return np.ascontiguousarray(quads.transpose(0, 2, 1)).view(np.uint8).reshape(-1)
