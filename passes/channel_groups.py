"""Channels in groups of neighbours, and what swapping two of them would gain. No pass is defined here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesparse.types import Array

Order = NDArray[np.int64]
CHUNK = 1 << 16  # elements: what stays in a cache
SINGLE = 1 << 18  # from so many elements on, in float32


class Groups(ABC):
    """C channels, ``size`` neighbours of which are a group; the last group may be smaller.

    ``cost``: elements that `gains` looks at.
    """

    def __init__(self, channels: Array, size: int, cost: float) -> None:
        dtype = np.float32 if channels.size >= SINGLE else np.float64
        self.channels = np.ascontiguousarray(channels, dtype)
        self.size, self.cost = size, cost
        self._group = np.arange(len(channels)) // size
        self._placed = self.channels
        self._worth = np.zeros(self._group[-1] + 1)

    def norms(self) -> Array:
        """(C,): what each channel is worth if all of it stays."""
        return np.asarray(self.features().sum(axis=1, dtype=np.float64))

    def features(self) -> Array:
        """(C, U), non-negative: what is compared to find similar channels."""
        return self.channels.reshape(len(self.channels), -1)

    @abstractmethod
    def begin(self, order: Order) -> None:
        """``order[place]`` is the channel there."""

    def worth(self) -> float:
        """What is kept in the order begun with and swapped since."""
        return float(self._worth.sum())

    def gains(self, place: int) -> Array:
        """(C,): what a swap with every other place would add; 0 within a group."""
        mine, theirs = self._swapped(place)
        gained = mine + theirs - self._worth[self._group[place]] - self._worth[self._group]
        begin = place // self.size * self.size
        gained[begin : begin + self.size] = 0.0
        return np.asarray(gained)

    def swap(self, place: int, other: int) -> None:
        self._placed[[place, other]] = self._placed[[other, place]]
        for group in {int(self._group[place]), int(self._group[other])}:
            self._update(group)

    @abstractmethod
    def _swapped(self, place: int) -> tuple[Array, Array]:
        """(C,) and (C,): the worth of the group of ``place``, and that of every place, were their channels swapped."""

    @abstractmethod
    def _update(self, group: int) -> None:
        """The channels of ``group`` have changed."""


class _Pairs(Groups):
    """Where a group's worth with the channel at place p replaced by r is ``base[p] + sum_u max(r_u - limit[p]_u, 0)``.

    So it is for two kinds of groups below, and all swaps with one place are judged with two passes over the channels.
    """

    def __init__(self, channels: Array, size: int) -> None:
        super().__init__(channels, size, cost=2.0 * channels.size)
        self._limit = np.zeros_like(self.channels)
        self._limits = np.zeros(len(channels))
        self._base = np.zeros(len(channels))

    def _swapped(self, place: int) -> tuple[Array, Array]:
        mine = _sum_of_larger(self._placed, self._limit[place]) - self._limits[place] + self._base[place]
        return mine, _sum_of_larger(self._limit, self._placed[place]) - self._limits + self._base


def _sum_of_larger(one: Array, other: Array) -> Array:
    """``sum_u max(one[., u], other[u])``, piece by piece: a temporary that fits a cache is faster."""
    step = max(1, CHUNK // one.shape[1])
    ones = np.ones(one.shape[1], one.dtype)
    if step >= len(one):
        return np.asarray(np.maximum(one, other) @ ones, np.float64)
    parts = [np.maximum(one[at : at + step], other) @ ones for at in range(0, len(one), step)]
    return np.concatenate(parts).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Share:
    """Of the ``units`` sums that each group has from one weight, ``zeros`` of all groups' together are not kept."""

    units: int
    zeros: int


class Blocks(_Pairs):
    """Channels (C, U): of the sums of groups the largest are kept, from each of the ``shares`` (in the order of U).

    With t the smallest sum kept, what is kept is ``sum max(sum - t, 0) + kept * t``: t is found again in `begin`, and
    stays while channels are swapped.
    """

    def __init__(self, channels: Array, size: int, shares: Sequence[Share]) -> None:
        super().__init__(channels, size)
        self.shares = shares
        self._t = np.zeros(channels.shape[1], self.channels.dtype)
        self._sums = self.channels
        self._below = 0.0

    def begin(self, order: Order) -> None:
        self._placed = self.channels[order]
        starts = np.arange(0, len(order), self.size)
        self._sums = np.add.reduceat(self._placed, starts, axis=0)
        at, self._below = 0, 0.0
        for share in self.shares:
            flat = self._sums[:, at : at + share.units].reshape(-1)
            t = float(np.partition(flat, share.zeros)[share.zeros])
            self._t[at : at + share.units] = t
            self._below += t * (flat.size - share.zeros)
            at += share.units
        self._worth = np.maximum(self._sums - self._t, 0).sum(axis=1, dtype=np.float64)
        self._limit = self._t - self._sums[self._group] + self._placed
        self._limits = self._limit.sum(axis=1, dtype=np.float64)

    def worth(self) -> float:
        return super().worth() + self._below

    def _update(self, group: int) -> None:
        members = slice(group * self.size, (group + 1) * self.size)
        placed = self._placed[members]
        sums = placed.sum(axis=0)
        self._sums[group] = sums
        self._worth[group] = np.maximum(sums - self._t, 0).sum(dtype=np.float64)
        self._limit[members] = self._t - sums + placed
        self._limits[members] = self._limit[members].sum(axis=1, dtype=np.float64)


class Stripes(_Pairs):
    """Channels (C, U) in groups of M: of each unit the ``keep`` largest of a group are kept (N:M)."""

    def __init__(self, channels: Array, size: int, keep: int) -> None:
        super().__init__(channels, size)
        self.keep = keep

    def begin(self, order: Order) -> None:
        self._placed = self.channels[order]
        self._limit = np.zeros_like(self.channels)
        for group in range(len(self._worth)):
            self._update(group)

    def _update(self, group: int) -> None:
        begin = group * self.size
        members = self._placed[begin : begin + self.size]
        count = len(members)
        padded = np.zeros((self.size, members.shape[1]), members.dtype)
        padded[:count] = members
        self._worth[group] = np.sort(padded, axis=0)[-self.keep :].sum(dtype=np.float64)
        for n in range(count):
            rest = np.sort(np.delete(padded, n, axis=0), axis=0)[-self.keep :]
            self._limit[begin + n] = rest[0]
            self._limits[begin + n] = rest[0].sum(dtype=np.float64)
            self._base[begin + n] = rest.sum(dtype=np.float64)


class Sums(Groups):
    """Channels (C, U, P): each group keeps, of each of the U rows of its sum, the ``keep`` largest of every ``of``
    neighbours among P: tap patterns, and N:M of which rows share the choice.
    """

    def __init__(self, channels: Array, size: int, keep: int, of: int) -> None:
        padded = np.pad(channels, [(0, 0), (0, 0), (0, -channels.shape[-1] % of)])
        super().__init__(padded.reshape(len(channels), -1, of), size, cost=20.0 * channels.size)  # partitions
        self.keep = keep
        self._sums = self.channels

    def begin(self, order: Order) -> None:
        self._placed = self.channels[order]
        self._sums = np.add.reduceat(self._placed, np.arange(0, len(order), self.size), axis=0)
        self._worth = self._kept(self._sums)

    def _kept(self, sums: Array) -> Array:
        largest = np.partition(sums, sums.shape[-1] - self.keep, axis=-1)[..., sums.shape[-1] - self.keep :]
        return np.asarray(largest.sum(axis=(-1, -2), dtype=np.float64))

    def _swapped(self, place: int) -> tuple[Array, Array]:
        mine = self._kept(self._sums[self._group[place]] - self._placed[place] + self._placed)
        return mine, self._kept(self._sums[self._group] - self._placed + self._placed[place])

    def _update(self, group: int) -> None:
        self._sums[group] = self._placed[group * self.size : (group + 1) * self.size].sum(axis=0)
        self._worth[group] = self._kept(self._sums[group])
