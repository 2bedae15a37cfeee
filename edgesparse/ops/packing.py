"""Weights as the SpMM kernels read them: blocks of MR output channels, kept inputs only.

The layout follows "Fast Sparse ConvNets" (Elsen et al. 2020): one list of input offsets per block
of output channels, weights of a block side by side; the block height is that of "SparseByteNN: A
Novel Mobile Inference Acceleration Framework Based on Fine-Grained Group Sparsity".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesparse.ops.cost import FULL_SPEED_ROWS
from edgesparse.types import Array

AHEAD = 8
"""How many offsets behind the last one spmm may read, to prefetch (ES_AHEAD in spmm.h)."""
POSITIONS, TAPS, MOST_KINDS = 9, (4, 5, 6), 8  # of tap patterns: so many of 9 stay, in so many ways in a layer
LARGEST_GROUP = 16  # M of N:M
LEAST_GROUPS = 8  # fewer may keep as many by chance


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


def describe(weight: Array, positions: int = 1) -> tuple[str, float]:
    """The pattern in a (channels, inputs) weight and its share of zeros: what a user pruned to.

    Inputs are (channel, kernel position), ``positions`` of the latter. N:M, slices and taps are named where they are
    exact; blocks also where a few are not.
    """
    zeros = 1.0 - np.count_nonzero(weight) / max(weight.size, 1)
    if zeros == 0:
        return "dense", 0.0
    kept, rows = kept_blocks(weight, 1), 1
    for height in (16, 8, 4, 2):
        if weight.shape[0] % height == 0:
            blocked = kept_blocks(weight, height)
            if 1.0 - blocked.mean() >= 0.98 * zeros:
                kept, rows = blocked, height
                break
    groups = kept.reshape(len(kept), -1, positions)
    found = _kernels(groups, rows) or _groups_of_inputs(groups, rows)
    return found or (f"block:{rows}x1" if rows > 1 else "unstructured"), zeros


def _kernels(kept: NDArray[np.bool_], rows: int) -> str:
    """``slice`` or ``taps``, of (blocks, input channels, kernel positions)."""
    positions = kept.shape[2]
    if positions == 1:
        return ""
    if (kept == kept[:, :, :1]).all():
        return f"slice:{rows}x1"
    taps = int(kept[0, 0].sum())
    if positions != POSITIONS or taps not in TAPS or (kept[0].sum(axis=1) != taps).any():
        return ""
    if (kept.sum(axis=2) != taps).any():
        return ""
    kinds = np.bincount(kept.reshape(-1, positions) @ (1 << np.arange(positions)))  # not np.unique: it sorts rows
    few = np.count_nonzero(kinds) <= MOST_KINDS
    return f"taps:{taps}" + (f"x{rows}" if rows != FULL_SPEED_ROWS else "") if few else ""


def _groups_of_inputs(kept: NDArray[np.bool_], rows: int) -> str:
    """``nm:N:M`` for the smallest M for which N of every M input channels stay, min(N, n) of a last group of n."""
    channels = kept.shape[1]
    for group in range(2, min(LARGEST_GROUP, channels) + 1):
        begin = np.arange(0, channels, group)
        if kept.shape[0] * len(begin) * kept.shape[2] < LEAST_GROUPS:
            continue
        keep = int(kept[0, :group, 0].sum())
        wanted = np.minimum(keep, np.minimum(group, channels - begin))[:, None]
        for part in (kept[:1], kept):  # nearly always the first block tells that it is not so
            count = np.add.reduceat(part, begin, axis=1, dtype=np.int64)
            if not (count == wanted).all():
                break
        else:
            if 0 < keep < group:
                return f"nm:{keep}:{group}" + (f"x{rows}" if rows > 1 else "")
    return ""
