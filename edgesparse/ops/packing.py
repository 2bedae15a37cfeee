"""Weights as the SpMM kernels read them: blocks of MR output channels, kept inputs only.

The layout follows "Fast Sparse ConvNets" (Elsen et al. 2020): one list of input offsets per block
of output channels, weights of a block side by side; the block height is that of "SparseByteNN: A
Novel Mobile Inference Acceleration Framework Based on Fine-Grained Group Sparsity".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesparse.types import Array

AHEAD = 8
"""How many offsets behind the last one spmm may read, to prefetch (ES_AHEAD in spmm_f32.h)."""


@dataclass(frozen=True, slots=True)
class Packed:
    """``values`` (entries, MR), ``offset`` (entries + AHEAD,) bytes, ``start`` (blocks + 1,)."""

    values: NDArray[np.float32]
    offset: NDArray[np.int32]
    start: NDArray[np.int32]

    @property
    def entries(self) -> int:
        return len(self.values)

    @property
    def blocks(self) -> int:
        return len(self.start) - 1


def kept_blocks(weight: Array, rows: int) -> NDArray[np.bool_]:
    """(blocks, inputs): True where any of the ``rows`` output channels of a block is not zero."""
    channels, inputs = weight.shape
    nonzero = np.zeros((-(-channels // rows) * rows, inputs), bool)
    np.not_equal(weight, 0, out=nonzero[:channels])
    return np.asarray(nonzero.reshape(-1, rows, inputs).any(axis=1))


def pack(weight: Array, offset_bytes: Array, rows: int) -> Packed:
    """Pack ``weight`` (channels, inputs); input j lies ``offset_bytes[j]`` bytes into x.

    Channels are padded with zeros to a multiple of ``rows``. A block without any weight has no
    entries. Zeros inside a kept block are stored.
    """
    channels, inputs = weight.shape
    kept = kept_blocks(weight, rows)
    padded = np.zeros((kept.shape[0] * rows, inputs), np.float32)
    padded[:channels] = weight
    block, column = np.nonzero(kept)
    values = padded.reshape(-1, rows, inputs)[block, :, column]
    start = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    offset = np.pad(offset_bytes[column].astype(np.int32), (0, AHEAD))
    return Packed(np.ascontiguousarray(values), offset, start)


def unpack(packed: Packed, offset_bytes: Array, channels: int) -> NDArray[np.float32]:
    """The dense (channels, inputs) matrix again. ``offset_bytes`` must be distinct."""
    rows = packed.values.shape[1]
    column = {int(o): j for j, o in enumerate(offset_bytes)}
    out = np.zeros((packed.blocks * rows, len(offset_bytes)), np.float32)
    for b in range(packed.blocks):
        for e in range(packed.start[b], packed.start[b + 1]):
            out[b * rows : (b + 1) * rows, column[int(packed.offset[e])]] = packed.values[e]
    return out[:channels]


def pad_rows(vector: Array | None, rows: int, channels: int) -> NDArray[np.float32]:
    """A per-channel vector, zeros where there is none, padded to a multiple of ``rows``."""
    out = np.zeros(-(-channels // rows) * rows, np.float32)
    if vector is not None:
        out[:channels] = vector.reshape(-1)
    return out


def describe(weight: Array) -> tuple[str, float]:
    """The pattern in a (channels, inputs) weight and its share of zeros: what a user pruned to."""
    zeros = 1.0 - np.count_nonzero(weight) / max(weight.size, 1)
    if zeros == 0:
        return "dense", 0.0
    for rows in (16, 8, 4, 2):
        if weight.shape[0] % rows == 0:
            blocked = 1.0 - kept_blocks(weight, rows).mean()
            if blocked >= 0.98 * zeros:
                return f"block:{rows}x1", zeros
    return "unstructured", zeros
