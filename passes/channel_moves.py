"""The rules of operators that compute nothing and move channels as they are, see `channel_rules`. No pass is here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod

import onnx_ir as ir

from edgesparse.passes.channel_ties import ChannelClasses, Layout, Segment
from edgesparse.passes.match import attribute_int, constant, is_op, operand

Layouts = Sequence["Layout | None"]
Found = Sequence["Layout | None"] | None
"""The layouts of a node's outputs. None: inputs must be pinned, outputs are."""
Rule = Callable[[ChannelClasses, ir.Node, Layouts], Found]


def rank_of(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def dims(value: ir.Value | None) -> list[int | None] | None:
    """None among them for what is not known before it runs."""
    if value is None or value.shape is None:
        return None
    return [d if isinstance(d, int) else None for d in value.shape]


def axes(node: ir.Node, rank: int) -> list[int] | None:
    """Of a node that has them as an input or an attribute; none given: all, or no axis where that is asked for."""
    given = constant(operand(node, 1))
    if operand(node, 1) is not None and given is None:
        return None
    if given is None and "axes" in node.attributes:
        return [a % rank for a in node.attributes["axes"].as_ints()]
    if given is None or not given.size:
        return [] if attribute_int(node, "noop_with_empty_axes", 0) else list(range(rank))
    return [int(a) % rank for a in given.reshape(-1)]


def _concat(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    parts, rank = [x for x in inputs if x is not None], rank_of(node.inputs[0])
    if not parts:
        return [None]
    first = parts[0]
    if rank is None or any((x.axis, x.inner) != (first.axis, first.inner) for x in parts):
        return None
    if attribute_int(node, "axis", 0) % rank != first.axis:
        if not all(found.tie_all(first, x) for x in parts[1:]):
            return None
        for index, x in enumerate(inputs):
            if x is None:
                array = constant(node.inputs[index])
                if array is None:
                    return None
                found.member(node, index, first)
        return [first]
    segments: list[Segment] = []
    for value, x in zip(node.inputs, inputs, strict=True):
        if x is not None:
            segments += x.segments
            continue
        shape = dims(value)
        size = None if shape is None else shape[first.axis]
        if size is None or size % first.inner:
            return None
        segments += found.fixed(node, size // first.inner, f"Concat '{node.name}' puts inputs of the model there")
    return [replace(first, segments=tuple(segments))]


def _part(found: ChannelClasses, layout: Layout, begin: int, end: int) -> Layout | None:
    """Channels ``begin`` to ``end``, where they are whole segments."""
    at, kept = 0, []
    for segment in layout.segments:
        if at >= begin and at + segment.size <= end:
            kept.append(segment)
        at += segment.size
    if sum(s.size for s in kept) == end - begin:
        return replace(layout, segments=tuple(kept))
    for end_of_segment in (begin, end):
        found.cut(layout, end_of_segment)
    return None


def _split(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    x, rank, shapes = inputs[0], rank_of(operand(node, 0)), [dims(v) for v in node.outputs]
    if x is None:
        return [None for _ in node.outputs]
    if rank is None or x.inner != 1:
        return None
    if attribute_int(node, "axis", 0) % rank != x.axis:
        return [x for _ in node.outputs]
    sizes = [None if s is None else s[x.axis] for s in shapes]
    at, parts = 0, []
    for size in sizes:
        if size is None:
            return None
        parts.append(_part(found, x, at, at + size))
        at += size
    return None if None in parts else parts


def _slice(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    x, rank = inputs[0], rank_of(operand(node, 0))
    if x is None:
        return [None]
    given = [constant(operand(node, i)) for i in (1, 2, 3, 4)]
    if rank is None or any(operand(node, i + 1) is not None and g is None for i, g in enumerate(given)):
        return None
    if given[0] is None or given[1] is None or x.inner != 1:
        return None
    starts, ends = given[0].reshape(-1).tolist(), given[1].reshape(-1).tolist()
    sliced = list(range(len(starts))) if given[2] is None else [int(a) % rank for a in given[2].reshape(-1)]
    steps = [1] * len(starts) if given[3] is None else given[3].reshape(-1).tolist()
    if x.axis not in sliced:
        return [x]
    at, size = sliced.index(x.axis), x.channels
    if steps[at] != 1:
        return None
    begin, end = (max(0, min(size, int(n) + size if n < 0 else int(n))) for n in (starts[at], ends[at]))
    part = _part(found, x, begin, end) if begin < end else None
    return None if part is None else [part]


def _pad(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    x, rank, pads = inputs[0], rank_of(operand(node, 0)), constant(operand(node, 1))
    if x is None:
        return [None]
    if rank is None or pads is None or operand(node, 3) is not None or pads.size != 2 * rank:
        return None
    return None if pads.reshape(-1)[x.axis] or pads.reshape(-1)[x.axis + rank] else [x]


def _transpose(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    x, rank = inputs[0], rank_of(operand(node, 0))
    if x is None:
        return [None]
    if rank is None:
        return None
    order = list(node.attributes["perm"].as_ints()) if "perm" in node.attributes else list(range(rank))[::-1]
    return [replace(x, axis=order.index(x.axis))]


def _reshape(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    """Where all before the channels stays as it is, and they stay an axis or become one with all behind them."""
    x, before, after = inputs[0], dims(operand(node, 0)), dims(node.outputs[0])
    if x is None:
        return [None]
    if before is None or after is None or len(after) <= x.axis:
        return None
    lead = all(a == b or a is None or b is None for a, b in zip(before[: x.axis], after[: x.axis], strict=True))
    if sum(d is None for d in before[: x.axis]) > 1 or not lead:
        return None
    old, new = [d for d in before[x.axis :] if d is not None], [d for d in after[x.axis :] if d is not None]
    if len(old) + len(new) != len(before) + len(after) - 2 * x.axis or prod(old) != prod(new):
        return None
    if old[0] == new[0]:
        return [x]
    return [replace(x, inner=x.inner * prod(old[1:]))] if new[0] == prod(old) else None


def _squeeze(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    x, rank = inputs[0], rank_of(operand(node, 0))
    if x is None:
        return [None]
    after = rank_of(node.outputs[0])
    if rank is None or after is None or (operand(node, 1) is None and "axes" not in node.attributes):
        return None
    chosen = axes(node, max(rank, after))
    if chosen is None or x.axis in (chosen if is_op(node, "Squeeze") else ()):
        return None
    if is_op(node, "Squeeze"):
        return [replace(x, axis=x.axis - sum(a < x.axis for a in chosen))]
    places = [a for a in range(after) if a not in chosen]
    return [replace(x, axis=places[x.axis])]


MOVES: Mapping[str, Rule] = {
    "Concat": _concat, "Split": _split, "Slice": _slice, "Pad": _pad, "Transpose": _transpose, "Reshape": _reshape,
    "Flatten": _reshape, "Squeeze": _squeeze, "Unsqueeze": _squeeze,
}  # fmt: skip
