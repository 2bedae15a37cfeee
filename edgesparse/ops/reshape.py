"""Operators that only rename bytes: Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout."""

from __future__ import annotations

from math import prod

from edgesparse.ops.operator import Lowering, Operator, Unsupported, register
from edgesparse.types import Node, Shape


def _declared(node: Node) -> list[Shape]:
    return [o.shape for o in node.outputs]


def _where(node: Node) -> str:
    return f"{node.op_type} '{node.name}' ({'x'.join(map(str, node.outputs[0].shape)) or 'scalar'})"


def _ints(node: Node, index: int, attribute: str) -> list[int] | None:
    """A list given as constant input ``index`` (new opsets) or as ``attribute`` (old ones)."""
    if node.input(index) is not None:
        value = node.constant(index)
        if value is None:
            raise Unsupported(f"{attribute} computed at run time", where=_where(node), hint="bind all shapes: --shape")
        return [int(v) for v in value.reshape(-1)]
    found = node.attrs.get(attribute)
    return None if found is None else [int(v) for v in found]


def reshape_shape(node: Node) -> list[Shape]:
    x = node.inputs[0]
    assert x is not None
    wanted = _ints(node, 1, "shape")
    if wanted is None:
        return _declared(node)
    if not node.attrs.get("allowzero", 0):
        wanted = [x.shape[i] if d == 0 else d for i, d in enumerate(wanted)]
    if -1 in wanted:
        rest = prod(d for d in wanted if d != -1)
        wanted[wanted.index(-1)] = x.size // rest if rest else 0
    return [tuple(wanted)]


def flatten_shape(node: Node) -> list[Shape]:
    x = node.inputs[0]
    assert x is not None
    axis = int(node.attrs.get("axis", 1))
    axis += len(x.shape) if axis < 0 else 0
    return [(prod(x.shape[:axis]), prod(x.shape[axis:]))]


def squeeze_shape(node: Node) -> list[Shape]:
    x = node.inputs[0]
    assert x is not None
    axes = _ints(node, 1, "axes")
    gone = {a % len(x.shape) for a in axes} if axes is not None else {i for i, d in enumerate(x.shape) if d == 1}
    return [tuple(d for i, d in enumerate(x.shape) if i not in gone)]


def unsqueeze_shape(node: Node) -> list[Shape]:
    x = node.inputs[0]
    assert x is not None
    axes = _ints(node, 1, "axes") or []
    rank = len(x.shape) + len(axes)
    new = {a % rank for a in axes}
    rest = iter(x.shape)
    return [tuple(1 if i in new else next(rest) for i in range(rank))]


def same(node: Node) -> list[Shape]:
    x = node.inputs[0]
    assert x is not None
    return [x.shape]


def lower(node: Node, out: Lowering) -> None:
    x = node.inputs[0]
    assert x is not None
    out.view(node, x.name, node.outputs[0].name)


def lower_dropout(node: Node, out: Lowering) -> None:
    training = node.input(2) is not None
    if training:
        known = node.constant(2)
        training = known is None or bool(known.any())
    if training:
        raise Unsupported(
            "Dropout in training mode, or in a mode known at run time only", where=_where(node),
            hint="export the model in eval mode",
        )  # fmt: skip
    if len(node.outputs) > 1:
        raise Unsupported("the mask output of Dropout", where=_where(node), hint="export the model in eval mode")
    lower(node, out)


register(
    Operator("Reshape", reshape_shape, lower, "the shape must be constant"),
    Operator("Flatten", flatten_shape, lower),
    Operator("Squeeze", squeeze_shape, lower, "the axes must be constant"),
    Operator("Unsqueeze", unsqueeze_shape, lower, "the axes must be constant"),
    Operator("Identity", same, lower),
    Operator("Dropout", same, lower_dropout, "inference only; the mask output is refused"),
)
