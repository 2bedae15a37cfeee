"""What operators read from an ONNX node, and how they refuse what they find there."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from edgesparse.errors import InputError
from edgesparse.ops.operator import Unsupported
from edgesparse.types import Array, Node, Shape, TensorSpec


def where(node: Node) -> str:
    """How messages name a node: type, name, shapes of its inputs."""
    shapes = " ".join("x".join(map(str, s.shape)) or "scalar" for s in node.inputs if s)
    return f"{node.op_type} '{node.name}' ({shapes})"


def first(node: Node) -> TensorSpec:
    """The first input."""
    assert node.inputs[0] is not None
    return node.inputs[0]


def same_shape(node: Node) -> list[Shape]:
    return [first(node).shape]


def constant(node: Node, index: int, what: str) -> Array | None:
    """The value of input ``index``; None where the node has no such input.

    Raises:
        Unsupported: it is computed at run time.
    """
    spec = node.input(index)
    if spec is None:
        return None
    value = node.constant(index)
    if value is None:
        raise Unsupported(
            f"its input {what} ('{spec.name}') is computed at run time and must be a constant", where=where(node),
            hint=f"export the model with a fixed {what}, or, where it follows from a shape, bind all shapes: --shape",
        )  # fmt: skip
    return value


def integers(node: Node, index: int, what: str) -> list[int] | None:
    """A list given as constant input ``index`` (new opsets) or as the attribute ``what`` (old ones)."""
    value = constant(node, index, what)
    if value is not None:
        return [int(v) for v in value.reshape(-1)]
    found = node.attrs.get(what)
    return None if found is None else [int(v) for v in found]


def in_range(node: Node, axis: int, rank: int) -> int:
    """``axis`` counted from the front. Raises InputError where there is no such axis."""
    if not -rank <= axis < rank:
        raise InputError(
            f"axis {axis} of a tensor with {rank} dimension{'' if rank == 1 else 's'}", where=where(node),
            hint=f"the file is damaged: axes reach from {-rank} to {rank - 1}",
        )  # fmt: skip
    return axis % rank


def axis(node: Node, default: int = -1) -> int:
    """The attribute ``axis``, an axis of the first input, counted from the front."""
    return in_range(node, int(node.attrs.get("axis", default)), len(first(node).shape))


def contiguous(shape: Sequence[int]) -> list[int]:
    """Element strides of a row-major tensor."""
    return [prod(shape[i + 1 :]) for i in range(len(shape))]


def fits(shape: Shape, target: Shape) -> bool:
    """Whether ``shape`` broadcasts to ``target`` and not beyond."""
    return len(shape) <= len(target) and all(a in (1, b) for a, b in zip(shape[::-1], target[::-1], strict=False))


def choice(node: Node, attribute: str, default: str, known: Sequence[str]) -> str:
    """A string attribute. Raises InputError for one that ONNX does not have."""
    found = str(node.attrs.get(attribute, default))
    if found not in known:
        raise InputError(
            f"{attribute} is {found!r}", where=where(node), hint=f"the file is damaged: it is one of {', '.join(known)}"
        )
    return found


def misfit(node: Node, what: str) -> InputError:
    """A parameter whose shape does not suit its node."""
    return InputError(what, where=where(node), hint="the file is damaged, or a --shape is wrong")
