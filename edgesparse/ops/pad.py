"""Pad: constant values, reflection, edge and wrap. Negative pads crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgesparse.ops.arguments import constant, contiguous, first, in_range, integers, misfit, where
from edgesparse.ops.copy import move
from edgesparse.ops.gather import gather_constant
from edgesparse.ops.operator import Constants, Contract, Lowering, Operator, Tensors, Unsupported, register
from edgesparse.types import DTYPES, Array, Attr, Binding, Machine, Node, OpCall, Shape, TensorSpec

# How numpy.pad spells the modes of ONNX.
_MODES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def _pads(node: Node) -> list[tuple[int, int]]:
    """(before, after) of every axis."""
    x, pads, axes = first(node), integers(node, 1, "pads"), integers(node, 3, "axes")
    assert pads is not None
    rank = len(x.shape)
    axes = list(range(rank)) if axes is None else [in_range(node, axis, rank) for axis in axes]
    if len(pads) != 2 * len(axes):
        raise misfit(node, f"{len(pads)} pads for {len(axes)} axes")
    found = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        found[axis] = (pads[i], pads[len(axes) + i])
    for n, (before, after) in zip(x.shape, found, strict=True):
        if max(-before, 0) + max(-after, 0) > n:
            raise misfit(node, f"pads {pads} crop more than there is")
    return found


def shape(node: Node) -> list[Shape]:
    x = first(node)
    return [tuple(n + a + b for n, (a, b) in zip(x.shape, _pads(node), strict=True))]


def lower(node: Node, out: Lowering) -> None:
    x, target, pads = first(node), node.outputs[0], _pads(node)
    if not any(a or b for a, b in pads):
        out.view(node, x.name, target.name)
        return
    mode = node.attrs.get("mode", "constant")
    if mode == "constant":
        _lower_constant(node, out, x, target, pads)
        return
    if mode not in _MODES:
        raise Unsupported(f"padding mode {mode!r}", where=where(node), hint="use constant, reflect, edge or wrap")
    source, shape = x.name, x.shape
    padded = [axis for axis, pad in enumerate(pads) if pad != (0, 0)]
    for axis in padded:
        n, (before, after) = shape[axis], pads[axis]
        if n == 0 and max(before, after) > 0:
            raise misfit(node, f"nothing to repeat on axis {axis}, which is empty")
        if mode == "reflect" and max(before, after) >= n:
            raise misfit(node, f"a reflection of {max(before, after)} elements on an axis of {n}")
        index = np.pad(np.arange(n), (max(before, 0), max(after, 0)), mode=_MODES[mode])  # type: ignore[call-overload]
        index = index[max(-before, 0) : len(index) - max(-after, 0)]
        new = (*shape[:axis], len(index), *shape[axis + 1 :])
        name = target.name if axis == padded[-1] else out.temporary(node, new, x.dtype)
        gather_constant(node, out, source, index, name, shape, axis)
        source, shape = name, new


def _lower_constant(
    node: Node, out: Lowering, x: TensorSpec, target: TensorSpec, pads: Sequence[tuple[int, int]]
) -> None:
    value = node.attrs.get("value", 0.0)
    known = constant(node, 2, "constant_value")
    if known is not None:
        value = known.reshape(-1)[0] if known.size else 0
    bits = np.array([value], DTYPES[x.dtype])
    word = int(bits.view({1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.int64}[bits.itemsize])[0])
    if any(a > 0 or b > 0 for a, b in pads):
        out.call(node, "fill", [], [target.name], size=target.size, value=word)
    dims = [n + min(a, 0) + min(b, 0) for n, (a, b) in zip(x.shape, pads, strict=True)]
    x_step, y_step = contiguous(x.shape), contiguous(target.shape)
    if min(dims, default=1) > 0:
        move(
            node, out, x.name, target.name, dims, x_step, y_step,
            sum(max(-a, 0) * s for (a, _), s in zip(pads, x_step, strict=True)),
            sum(max(a, 0) * s for (a, _), s in zip(pads, y_step, strict=True)),
        )  # fmt: skip


def bind_fill(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    size = DTYPES[tensors[call.outputs[0]].dtype].itemsize
    return [Binding(f"fill_b{size}", {"y": call.outputs[0], **call.attrs})]


def reference_fill(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    spec = outputs[0]
    word = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.int64}[DTYPES[spec.dtype].itemsize]
    return [np.full(spec.shape, attrs["value"], word).view(DTYPES[spec.dtype])]


register(
    Contract("fill", (), ("y",), reference_fill, bind=bind_fill, partial=True),
    Operator("Pad", shape, lower, "pads and value must be constant", kernels=("fill", "copy", "gather")),
)
