"""Operators that only rename bytes: Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout."""

from __future__ import annotations

from math import prod

from edgesparse.ops.arguments import axis, first, in_range, integers, misfit, same_shape, where
from edgesparse.ops.operator import Lowering, Operator, Unsupported, register
from edgesparse.types import Node, Shape


def reshape_shape(node: Node) -> list[Shape]:
    x, wanted = first(node), integers(node, 1, "shape")
    assert wanted is not None
    if not node.attrs.get("allowzero", 0):
        wanted = [x.shape[i] if d == 0 and i < len(x.shape) else d for i, d in enumerate(wanted)]
    rest = prod(d for d in wanted if d != -1)
    shape = tuple(x.size // rest if d == -1 and rest else d for d in wanted)
    if min(shape, default=0) < 0 or wanted.count(-1) > 1 or prod(shape) != x.size:
        raise misfit(node, f"{x.size} elements cannot take the shape {wanted}")
    return [shape]


def flatten_shape(node: Node) -> list[Shape]:
    x, at = first(node), int(node.attrs.get("axis", 1))
    if at != len(x.shape):  # behind the last axis is allowed, too
        at = axis(node, 1)
    return [(prod(x.shape[:at]), prod(x.shape[at:]))]


def squeeze_shape(node: Node) -> list[Shape]:
    x, axes = first(node), integers(node, 1, "axes")
    rank = len(x.shape)
    gone = {i for i, d in enumerate(x.shape) if d == 1} if axes is None else {in_range(node, a, rank) for a in axes}
    if any(x.shape[i] != 1 for i in gone):
        raise misfit(node, f"axes {axes} are not all of size 1")
    return [tuple(d for i, d in enumerate(x.shape) if i not in gone)]


def unsqueeze_shape(node: Node) -> list[Shape]:
    x, axes = first(node), integers(node, 1, "axes") or []
    rank = len(x.shape) + len(axes)
    new = {in_range(node, a, rank) for a in axes}
    if len(new) != len(axes):
        raise misfit(node, f"an axis is listed twice: {axes}")
    rest = iter(x.shape)
    return [tuple(1 if i in new else next(rest) for i in range(rank))]


def lower(node: Node, out: Lowering) -> None:
    out.view(node, first(node).name, node.outputs[0].name)


def lower_dropout(node: Node, out: Lowering) -> None:
    training = node.input(2) is not None
    if training:
        known = node.constant(2)
        training = known is None or bool(known.any())
    if training:
        raise Unsupported(
            "Dropout in training mode, or in a mode known at run time only", where=where(node),
            hint="export the model in eval mode",
        )  # fmt: skip
    if len(node.outputs) > 1:
        raise Unsupported("the mask output of Dropout", where=where(node), hint="export the model in eval mode")
    lower(node, out)


register(
    Operator("Reshape", reshape_shape, lower, "the shape must be constant"),
    Operator("Flatten", flatten_shape, lower),
    Operator("Squeeze", squeeze_shape, lower, "the axes must be constant"),
    Operator("Unsqueeze", unsqueeze_shape, lower, "the axes must be constant"),
    Operator("Identity", same_shape, lower),
    Operator("Dropout", same_shape, lower_dropout, "inference only; the mask output is refused"),
)
