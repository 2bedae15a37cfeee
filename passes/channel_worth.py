"""What the patterns of weights keep in an order of channels: exactly, and as groups to search with. No pass is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgesparse.passes.channel_groups import Blocks, Groups, Order, Share, Stripes, Sums
from edgesparse.passes.channel_ties import ChannelClasses, Layout
from edgesparse.patterns import NM, Block, Pattern, Taps, zero_count
from edgesparse.patterns.pattern import row_sums
from edgesparse.patterns.taps import TAPS
from edgesparse.types import Array


@dataclass(frozen=True, slots=True)
class Wanted:
    """The importance of a weight, as (Co, Ci, *kernel), and what is to be left of it."""

    name: str
    pattern: Pattern
    sparsity: float
    importance: Array

    def share(self, importance: Array) -> float:
        """Of ``importance``, which is that of the weight in any order of its channels: what the pattern keeps."""
        total = float(importance.sum())
        return float(importance[self.pattern.mask(importance, self.sparsity)].sum()) / total if total else 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """A class lies along output (``axis`` 0) or input channels (1) of a weight."""

    wanted: Wanted
    axis: int
    layout: Layout


def index_of(classes: ChannelClasses, layout: Layout, number: int, order: Order) -> Order:
    """For each element along the layout's axis where it comes from, when class ``number`` takes ``order``."""
    parts, at = [], 0
    for segment in layout.segments:
        channels = order if classes.root(segment.number) == number else np.arange(segment.size)
        parts.append(at + channels)
        at += segment.size
    return (np.concatenate(parts)[:, None] * layout.inner + np.arange(layout.inner)).reshape(-1)


def kept_share(classes: ChannelClasses, number: int, places: Sequence[Place], order: Order) -> float:
    """The sum of what all weights keep when the class takes ``order``: the objective."""
    arrays = {p.wanted.name: p.wanted.importance for p in places}
    for place in places:
        index = index_of(classes, place.layout, number, order)
        arrays[place.wanted.name] = np.take(arrays[place.wanted.name], index, axis=place.axis)
    wanted = {p.wanted.name: p.wanted for p in places}
    return sum(wanted[name].share(array) for name, array in arrays.items())


@dataclass(frozen=True, slots=True)
class _Part:
    """What one weight has of a class: (C, U) importances whose sums over ``size`` channels are ranked together."""

    channels: Array
    size: int
    zeros: int


def groups_of(classes: ChannelClasses, number: int, places: Sequence[Place]) -> list[Groups]:
    """How the patterns of all weights group the channels of a class; empty where none does.

    Each is what a weight keeps of its importance, as a share. Left out, and so to the objective, is what is not whole
    groups: a class that begins within a block of another one, channels with several elements side by side.
    """
    parts: list[_Part] = []
    found: list[Groups] = []
    for place in places:
        wanted, axis, layout = place.wanted, place.axis, place.layout
        total, step = float(wanted.importance.sum()), _step(wanted.pattern, axis)
        if not total or not wanted.sparsity or layout.inner > 1 or step == 1:
            continue
        at = 0
        for segment in layout.segments:
            if classes.root(segment.number) == number and at % step == 0:
                own = np.take(wanted.importance / total, np.arange(at, at + segment.size), axis=axis)
                group = _of_rows(wanted, own) if axis == 0 else _of_columns(wanted, own)
                if isinstance(group, _Part):
                    parts.append(group)
                else:
                    found.append(group)
            at += segment.size
    for size in dict.fromkeys(part.size for part in parts):
        same = [part for part in parts if part.size == size]
        shares = [Share(part.channels.shape[1], part.zeros) for part in same]
        found.append(Blocks(np.concatenate([part.channels for part in same], axis=1), size, shares))
    return found


def _step(pattern: Pattern, axis: int) -> int:
    """So many neighbours along output (0) or input channels (1) are a group."""
    if axis == 0:
        return pattern.rows
    return pattern.group if isinstance(pattern, NM) else pattern.columns if isinstance(pattern, Block) else 1


def _of_rows(wanted: Wanted, array: Array) -> _Part | Groups:
    pattern = wanted.pattern
    if isinstance(pattern, NM):
        columns = np.moveaxis(array, 1, -1).reshape(len(array), -1, array.shape[1])
        return Sums(columns, pattern.rows, pattern.keep, pattern.group)
    if isinstance(pattern, Taps):
        return Sums(array.reshape(len(array), -1, TAPS), pattern.rows, pattern.keep, TAPS)
    units = replace(pattern, rows=1).scores(array) if isinstance(pattern, Block) else array
    return _part(units.reshape(len(array), -1), pattern.rows, wanted.sparsity)


def _of_columns(wanted: Wanted, array: Array) -> _Part | Groups:
    pattern = wanted.pattern
    rows = np.moveaxis(row_sums(array, pattern.rows), 1, 0)
    if isinstance(pattern, NM):
        return Stripes(_sorted(rows.reshape(len(rows), -1)), pattern.group, pattern.keep)
    assert isinstance(pattern, Block)
    if pattern.whole:
        rows = rows.reshape(*rows.shape[:2], -1).sum(axis=2)
    return _part(rows.reshape(len(rows), -1), pattern.columns, wanted.sparsity)


def _part(channels: Array, size: int, sparsity: float) -> _Part:
    units = -(-len(channels) // size) * channels.shape[1]
    return _Part(_sorted(channels), size, zero_count(units, sparsity))


def _sorted(channels: Array) -> Array:
    """Units in an order of their own: sums are rounded alike, and a second search goes the same way."""
    return np.asarray(channels[:, np.argsort(-channels.sum(axis=0), kind="stable")])
