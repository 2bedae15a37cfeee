"""Weights of 4 bits in blocks of 32 or 64 inputs: how they are chosen, and how the kernels read them.

``w = scale * (u - 8)``, ``u`` in 0..15, a scale (a half, of any sign) for each output and block. Layouts are the same
on every architecture. Padding has ``u = 8``, which is zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesparse.errors import InputError
from edgesparse.types import Array

BLOCKS = (32, 64)
GROUP = 32
"""Inputs that share a scale of the activations."""
PANEL = 16
"""Outputs side by side in the interleaved layout."""
STRIP = 128
"""Outputs in 64 bytes of an input, in the layout by input, which is padded to whole ones."""
UNIT = 128
"""Inputs in 64 bytes of an output, in the layout by output; rows are padded to whole ones."""
ZERO = 8
OFFSET_FACTOR = -64
"""Times the sum of 16 activations: what ``blocks_qb4`` starts from."""
DENOMINATORS = (-8.0, -8.5, -7.5, 7.0, 7.5, 8.5)
"""What the largest weight of a block may become: scales are tried that make it so large."""
_MOST = float(np.finfo(np.float16).max)
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Nibbles:
    """``u``: (outputs, inputs), 0..15; ``scale``: (outputs, blocks), halves."""

    u: NDArray[np.uint8]
    scale: NDArray[np.float16]
    block: int

    @property
    def bits(self) -> float:
        """Stored bits for each weight, without padding."""
        return (4 * self.u.size + 16 * self.scale.size) / self.u.size

    def dense(self) -> NDArray[np.float32]:
        """The weights that these stand for."""
        wide = np.repeat(self.scale.astype(np.float32), self.block, axis=1)[:, : self.u.shape[1]]
        return wide * (self.u.astype(np.float32) - ZERO)


@dataclass(frozen=True, slots=True)
class Packed:
    """What a kernel gets: ``w`` and ``wscale``, one-dimensional."""

    w: NDArray[np.uint8]
    wscale: NDArray[np.float16]

    @property
    def bytes(self) -> int:
        return self.w.nbytes + self.wscale.nbytes


def quantise_qb4(weight: Array, block: int) -> Nibbles:
    """The nearest integers of ``weight`` (outputs, inputs), by the scale of each block with the least squared error.

    Scales that make the largest weight -8 or 7, or a little more or less than that, are tried; then the integers of
    the best one get the scale that fits them best, ``sum(w v) / sum(v v)``, if that is better as a half, too.

    Raises:
        InputError: the weights are not finite, or too large for a half.
    """
    _known(block)
    outputs, inputs = weight.shape
    blocks = -(-inputs // block)
    u = np.full((outputs, inputs), ZERO, np.uint8)
    scale = np.zeros((outputs, blocks), np.float16)
    rows = max(1, _CHUNK // max(inputs, 1))
    for first in range(0, outputs, rows):
        some = weight[first : first + rows]
        padded = np.zeros((len(some), blocks * block), np.float32)
        padded[:, :inputs] = some
        v, s = fit(padded.reshape(-1, block))
        u[first : first + rows] = (v + ZERO).astype(np.uint8).reshape(len(some), -1)[:, :inputs]
        scale[first : first + rows] = s.reshape(len(some), blocks)
    return Nibbles(u, scale, block)


def fit(
    w: NDArray[np.float32], denominators: tuple[float, ...] = DENOMINATORS
) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    """Integers -8..7 (blocks, n) and a scale for each block of ``w`` (blocks, n), as `quantise_qb4` chooses them.

    Raises:
        InputError: as `quantise_qb4`.
    """
    if not np.isfinite(w).all() or np.abs(w).max(initial=0) / 7 > _MOST:
        raise InputError(
            "some weights are not finite, or too large for scales of 16 bits", where="int4 weights",
            hint="compile with --weights f32 or int8",
        )  # fmt: skip
    most = w[np.arange(len(w)), np.abs(w).argmax(axis=1)]
    room = np.empty_like(w)
    scale, best = np.zeros(len(w), np.float16), np.einsum("bi,bi->b", w, w)

    def consider(other: NDArray[np.float16]) -> None:
        _nearest(w, other, room)
        np.multiply(room, other.astype(np.float32)[:, None], out=room)
        np.subtract(w, room, out=room)
        errors = np.einsum("bi,bi->b", room, room)
        better = errors < best
        best[better], scale[better] = errors[better], other[better]

    for denominator in denominators:
        consider((most / np.float32(denominator)).astype(np.float16))
    v = _nearest(w, scale, room)
    squares = np.einsum("bi,bi->b", v, v)
    consider((np.einsum("bi,bi->b", w, v) / np.where(squares > 0, squares, np.float32(1))).astype(np.float16))
    return _nearest(w, scale, room), scale


def _nearest(w: NDArray[np.float32], scale: NDArray[np.float16], out: NDArray[np.float32]) -> NDArray[np.float32]:
    """Integers -8..7; 0 where the scale is 0."""
    with np.errstate(divide="ignore"):
        inverse = np.where(scale == 0, np.float32(0), 1 / scale.astype(np.float32))
    np.multiply(w, inverse[:, None], out=out)
    np.rint(out, out=out)
    return np.clip(out, -8, 7, out=out)


def dense_qb4(nibbles: Nibbles) -> Packed:
    """Panels of 16 outputs, (outputs / 16, inputs / 32, 4, 16, 4) bytes: [k, o, r] is inputs 4k+r and 16+4k+r."""
    u, scale = _padded(nibbles, PANEL, GROUP)
    outputs, inputs = u.shape
    parts = u.reshape(outputs // PANEL, PANEL, inputs // GROUP, 2, 4, 4)
    pairs = _pairs(parts[:, :, :, 0], parts[:, :, :, 1])  # (panel, o, group, k, r)
    w = np.ascontiguousarray(pairs.transpose(0, 2, 3, 1, 4))
    wscale = scale.reshape(outputs // PANEL, PANEL, -1).transpose(0, 2, 1)
    return Packed(w.reshape(-1), np.ascontiguousarray(wscale).reshape(-1))


def columns_qb4(nibbles: Nibbles) -> Packed:
    """(inputs, outputs / 2) bytes: of 128 outputs, 64 bytes, 16l+4k+r is outputs 16k+4l+r and 64 more.

    A row is not cut into tiles: skipping is worth the more the longer what is read at a time.
    """
    u, scale = _padded(nibbles, STRIP, GROUP)
    parts = u.reshape(-1, 2, 4, 4, 4, u.shape[1])  # (strip, half, k, l, r, input)
    pairs = _pairs(parts[:, 0], parts[:, 1])
    w = np.ascontiguousarray(pairs.transpose(4, 0, 2, 1, 3))  # (input, strip, l, k, r)
    return Packed(w.reshape(-1), np.ascontiguousarray(scale.T).reshape(-1))


def rows_qb4(nibbles: Nibbles) -> Packed:
    """A row of (inputs / 128, 64) bytes for each output: byte i of 64 is inputs i and 64+i."""
    u, scale = _padded(nibbles, 1, UNIT)
    parts = u.reshape(len(u), -1, 2, UNIT // 2)
    return Packed(_pairs(parts[:, :, 0], parts[:, :, 1]).reshape(-1), scale.reshape(-1))


def blocks_w(u: Array) -> NDArray[np.uint8]:
    """``u``: (kept blocks, 4 outputs, 16 inputs) -> 32 bytes each: 16h+4o+r is inputs 4h+r and 8+4h+r of output o."""
    parts = u.reshape(-1, 4, 2, 2, 4)  # (block, o, upper, h, r)
    return np.ascontiguousarray(_pairs(parts[:, :, 0], parts[:, :, 1]).transpose(0, 2, 1, 3)).reshape(-1)


def grouped(x: Array, group: int) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32]]:
    """(q, scale, sum of q) of ``x``: (..., count), in groups: ``scale = max |x| / 127``, ``q = x / scale``, ties even.

    q is padded with zeros to a multiple of 32; there is a scale and a sum for every group that has an input.
    """
    count = x.shape[-1]
    room, groups = -(-count // 32) * 32, -(-count // group)
    padded = np.zeros((*x.shape[:-1], max(room, groups * group)), np.float32)
    padded[..., :count] = x
    parts = padded[..., : groups * group].reshape(*x.shape[:-1], groups, group)
    scale = (np.abs(parts).max(axis=-1) / np.float32(127)).astype(np.float32)
    q = np.rint(parts / np.where(scale > 0, scale, np.float32(1))[..., None])
    q = (q * (scale > 0)[..., None]).astype(np.int8)
    out = np.zeros((*x.shape[:-1], room), np.int8)
    flat = q.reshape(*x.shape[:-1], groups * group)[..., :room]
    out[..., : flat.shape[-1]] = flat
    return out, scale, q.sum(axis=-1, dtype=np.int32)


def active(
    x: Array, threshold: Array, block: int
) -> tuple[NDArray[np.int32], NDArray[np.int8], NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """(index, q, scale, sum, start) as ``select_qb4`` makes them of ``x``: (n,), without room behind the last entry."""
    _known(block)
    index: list[int] = []
    qs, scale, total, start = [np.zeros(0, np.int8)], [], [], [0]
    for first in range(0, x.size, block):
        here = x[first : first + block].astype(np.float32)
        limit = threshold[first : first + block] if threshold.size > 1 else threshold
        kept = np.flatnonzero(np.abs(here) > limit)
        padding = -len(kept) % 4
        values = np.pad(here[kept], (0, padding))
        s = np.float32(np.abs(values).max(initial=0)) / np.float32(127)
        q = np.rint(values / s).astype(np.int8) if s > 0 else np.zeros(values.size, np.int8)
        index += [*(kept + first).tolist(), *([int(kept[-1]) + first] * padding if padding else [])]
        qs.append(q)
        scale.append(s)
        total.append(q.sum(dtype=np.int32))
        start.append(len(index))
    return (
        np.array(index, np.int32), np.concatenate(qs), np.array(scale, np.float32),
        np.array(total, np.int32), np.array(start, np.int32),
    )  # fmt: skip


def _known(block: int) -> None:
    if block not in BLOCKS:
        raise ValueError(f"blocks of {block} inputs: {' or '.join(map(str, BLOCKS))} are known")


def _padded(nibbles: Nibbles, outputs: int, inputs: int) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Both counts rounded up; scales of blocks that are only padding are 0."""
    rows, columns = nibbles.u.shape
    more, wider = -rows % outputs, -columns % inputs
    u = np.pad(nibbles.u, ((0, more), (0, wider)), constant_values=ZERO) if more or wider else nibbles.u
    blocks = -(-u.shape[1] // nibbles.block)
    scale = np.pad(nibbles.scale, ((0, more), (0, blocks - nibbles.scale.shape[1])))
    return u, scale


def _pairs(low: Array, high: Array) -> NDArray[np.uint8]:
    return np.asarray(low | high << 4, np.uint8)
