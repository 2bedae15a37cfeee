"""A weight as a picture: rows are output channels, columns input channels x positions of the kernel."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesparse.types import Array

MOST_CELLS = 128  # in each direction
ZERO = (214, 69, 65)
"""Zeros are red: no other cell is."""
RAMP = ((240, 244, 248), (158, 190, 214), (66, 122, 170), (18, 52, 96))
"""From weights near zero to the largest."""


@dataclass(frozen=True, slots=True)
class Heatmap:
    """``magnitude`` and ``zeros`` are PNGs as data URIs, of ``cells`` (rows, columns), each ``block`` weights large."""

    magnitude: str
    zeros: str
    shape: tuple[int, int]
    cells: tuple[int, int]
    block: tuple[int, int]
    largest: float


def heatmap(weight: Array) -> Heatmap:
    """``weight`` (Co, Ci, *kernel) with at least one element.

    A cell is the mean of |w| over its weights, on a scale that ends at the largest cell; it is `ZERO` where all of them
    are zero. ``zeros`` shows the share of zeros in each cell instead.
    """
    matrix = np.abs(np.nan_to_num(weight.reshape(len(weight), -1).astype(np.float64), posinf=0, neginf=0))
    block = (-(-matrix.shape[0] // MOST_CELLS), -(-matrix.shape[1] // MOST_CELLS))
    count = _sums(np.ones_like(matrix), block)
    mean, zeros = _sums(matrix, block) / count, _sums((matrix == 0).astype(np.float64), block) / count
    largest = float(mean.max())
    # the square root: most weights are small, and differences among them are what a mask is about
    levels = 1 + np.round(254 * np.sqrt(mean / largest if largest else mean))
    index = np.where(zeros == 1, 0, levels).astype(np.uint8)
    share = np.where(zeros == 1, 0, 1 + np.round(254 * (1 - zeros))).astype(np.uint8)
    cells = (index.shape[0], index.shape[1])
    shape = (matrix.shape[0], matrix.shape[1])
    return Heatmap(_uri(index), _uri(share), shape, cells, block, largest)


def palette() -> NDArray[np.uint8]:
    """(256, 3): `ZERO`, then `RAMP` in 255 steps."""
    at = np.linspace(0, len(RAMP) - 1, 255)
    ramp = np.stack([np.interp(at, np.arange(len(RAMP)), channel) for channel in np.array(RAMP).T], axis=1)
    return np.concatenate([np.array([ZERO]), np.round(ramp)]).astype(np.uint8)


def _sums(matrix: NDArray[np.float64], block: tuple[int, int]) -> NDArray[np.float64]:
    rows = np.add.reduceat(matrix, np.arange(0, matrix.shape[0], block[0]), axis=0)
    return np.asarray(np.add.reduceat(rows, np.arange(0, matrix.shape[1], block[1]), axis=1))


def _uri(index: NDArray[np.uint8]) -> str:
    return "data:image/png;base64," + base64.b64encode(png(index)).decode()


def png(index: NDArray[np.uint8]) -> bytes:
    """A PNG with 8 bits a pixel and `palette`. https://www.w3.org/TR/png-3/"""
    height, width = index.shape
    lines = b"".join(b"\0" + row.tobytes() for row in index)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)), (b"PLTE", palette().tobytes()),
        (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""),
    ]  # fmt: skip
    body = b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body
