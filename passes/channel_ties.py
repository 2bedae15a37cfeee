"""Channels that must keep the same order, as a union-find. No pass is defined here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class Segment:
    """``size`` neighbouring channels, all those of the class with this number (see `ChannelClasses.root`)."""

    number: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Along ``axis`` lie the channels of ``segments``, ``inner`` elements of each side by side."""

    axis: int
    segments: tuple[Segment, ...]
    inner: int = 1

    @property
    def sizes(self) -> list[int]:
        return [s.size for s in self.segments]

    @property
    def channels(self) -> int:
        return sum(self.sizes)


@dataclass(frozen=True, slots=True)
class Member:
    """Input ``index`` of ``node``, a constant that has the channels of ``layout``."""

    node: ir.Node
    index: int
    layout: Layout

    @property
    def value(self) -> ir.Value:
        found = self.node.inputs[self.index]
        assert found is not None  # only constants are members
        return found


Cuts = dict[ir.Node, set[int]]
"""Where the output channels of a node are divided, because a Split or Slice behind it does."""


@dataclass
class ChannelClasses:
    """The classes of one model. ``members``: its constants, in graph order; ``pinned``: class -> why.

    ``wanted`` are cuts that were asked for and are not in ``cuts``.
    """

    members: list[Member] = field(default_factory=list)
    pinned: dict[int, str] = field(default_factory=dict)
    layouts: dict[ir.Value, Layout] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    cuts: Mapping[ir.Node, set[int]] = field(default_factory=dict)
    wanted: Cuts = field(default_factory=dict)
    _parent: list[int] = field(default_factory=list)
    _origin: dict[int, tuple[ir.Node, int]] = field(default_factory=dict)

    def root(self, number: int) -> int:
        """The number of the whole class."""
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def free(self) -> list[int]:
        """The classes whose order may change, in graph order."""
        roots = dict.fromkeys(self.root(n) for n in range(len(self.sizes)))
        return [r for r in roots if r not in self.pinned and self.sizes[r] > 1]

    def of(self, number: int) -> list[Member]:
        """The constants that a permutation of the class touches."""
        return [m for m in self.members if any(self.root(s.number) == number for s in m.layout.segments)]

    # how they are built

    def new(self, node: ir.Node, size: int) -> tuple[Segment, ...]:
        """The output channels of ``node``, which no other tensor has."""
        ends = [*sorted(self.cuts.get(node, ())), size]
        found = []
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            number = len(self._parent)
            self._parent.append(number)
            self.sizes.append(end - begin)
            self._origin[number] = (node, begin)
            found.append(Segment(number, end - begin))
        return tuple(found)

    def fixed(self, node: ir.Node, size: int, why: str) -> tuple[Segment, ...]:
        """Channels that stay where they are, beside others that need not."""
        segments = self.new(node, size)
        for segment in segments:
            self.pinned[segment.number] = why
            del self._origin[segment.number]
        return segments

    def tie(self, one: Segment, other: Segment) -> None:
        a, b = sorted((self.root(one.number), self.root(other.number)))
        if a != b:
            self._parent[b] = a
            if b in self.pinned:
                self.pinned.setdefault(a, self.pinned.pop(b))

    def tie_all(self, one: Layout, other: Layout) -> bool:
        """Segment by segment. False where their ends differ, or their elements; then cuts are asked for."""
        if one.inner != other.inner or one.channels != other.channels:
            return False
        if one.sizes != other.sizes:
            for layout, ends in ((one, other.sizes), (other, one.sizes)):
                for n in range(1, len(ends)):
                    self.cut(layout, sum(ends[:n]))
            return False
        for a, b in zip(one.segments, other.segments, strict=True):
            self.tie(a, b)
        return True

    def cut(self, layout: Layout, at: int) -> None:
        """Ask for an end of a segment at channel ``at``."""
        begin = 0
        for segment in layout.segments:
            if begin < at < begin + segment.size and segment.number in self._origin:
                node, first = self._origin[segment.number]
                self.wanted.setdefault(node, set()).add(first + at - begin)
            begin += segment.size

    def pin(self, layout: Layout | None, why: str) -> None:
        for segment in layout.segments if layout is not None else ():
            self.pinned.setdefault(self.root(segment.number), why)

    def member(self, node: ir.Node, index: int, layout: Layout) -> None:
        self.members.append(Member(node, index, layout))
