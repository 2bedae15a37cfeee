"""Operators that only move elements: Transpose, Concat, Split, Slice, Expand, Tile.

All are strided copies. Several calls may write parts of one output (Concat, Pad).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from edgesparse.ops.arguments import axis, contiguous, first, in_range, integers, misfit, where
from edgesparse.ops.operator import Constants, Contract, Lowering, Operator, Tensors, Unsupported, register
from edgesparse.types import DTYPES, Array, Attr, Binding, Machine, Node, OpCall, Shape, TensorSpec

LOOPS = 6


def move(
    node: Node, out: Lowering, source: str, target: str, dims: Sequence[int], x_stride: Sequence[int],
    y_stride: Sequence[int], x_offset: int = 0, y_offset: int = 0,
) -> None:  # fmt: skip
    """Emit ``target[y_offset + i . y_stride] = source[x_offset + i . x_stride]`` for all ``i < dims``.

    Neighbouring loops merge where both sides walk on without a jump. The order of loops is free: the one that is
    contiguous in the target comes last, the one that is contiguous in the source just before it.

    Raises:
        Unsupported: more than six loops are left.
    """
    if prod(dims) == 0:
        return
    loops: list[tuple[int, int, int]] = []
    for size, x, y in zip(dims, x_stride, y_stride, strict=True):
        if size == 1:
            continue
        if loops and loops[-1][1] == x * size and loops[-1][2] == y * size:
            loops[-1] = (loops[-1][0] * size, x, y)
        else:
            loops.append((size, x, y))
    if len(loops) > LOOPS:
        raise Unsupported(
            f"a rearrangement that needs {len(loops)} loops; {LOOPS} are supported", where=where(node),
            hint="split it into two Transposes",
        )  # fmt: skip
    for unit in (1, 2):  # contiguous in the source, then (and so behind it) in the target
        found = [loop for loop in loops if loop[unit] == 1]
        if found:
            loops.remove(found[-1])
            loops.append(found[-1])
    loops = [(1, 0, 0)] * (LOOPS - len(loops)) + loops
    out.call(
        node, "copy", [source], [target], x_offset=x_offset, y_offset=y_offset, dims=tuple(n for n, _, _ in loops),
        x_stride=tuple(x for _, x, _ in loops), y_stride=tuple(y for _, _, y in loops),
    )  # fmt: skip


# Transpose


def permutation(node: Node) -> list[int]:
    """``perm``. Raises InputError where it is none of the axes of the input."""
    axes = range(len(first(node).shape))
    found = [int(p) for p in node.attrs.get("perm", axes[::-1])]
    if sorted(found) != list(axes):
        raise misfit(node, f"perm {found} does not permute {len(axes)} axes")
    return found


def transpose_shape(node: Node) -> list[Shape]:
    return [tuple(first(node).shape[p] for p in permutation(node))]


def lower_transpose(node: Node, out: Lowering) -> None:
    x, perm, target = first(node), permutation(node), node.outputs[0]
    moving = [p for p in perm if x.shape[p] != 1]
    if moving == sorted(moving):
        out.view(node, x.name, target.name)
        return
    step = contiguous(x.shape)
    move(node, out, x.name, target.name, target.shape, [step[p] for p in perm], contiguous(target.shape))


# Concat and Split


def concat_shape(node: Node) -> list[Shape]:
    shapes = [i.shape for i in node.inputs if i is not None]
    at = axis(node)
    return [(*shapes[0][:at], sum(s[at] for s in shapes), *shapes[0][at + 1 :])]


def lower_concat(node: Node, out: Lowering) -> None:
    target = node.outputs[0]
    at = axis(node)
    parts = [i for i in node.inputs if i is not None and i.size]
    if len(parts) == 1:
        out.view(node, parts[0].name, target.name)
        return
    step, begin = contiguous(target.shape), 0
    for part in parts:
        move(node, out, part.name, target.name, part.shape, contiguous(part.shape), step, 0, begin * step[at])
        begin += part.shape[at]


def _parts(node: Node) -> tuple[int, list[int]]:
    """(axis, sizes) of a Split."""
    x = first(node)
    at = axis(node, 0)
    sizes = integers(node, 1, "split")
    if sizes is None:
        count = int(node.attrs.get("num_outputs", len(node.outputs)))
        each = -(-x.shape[at] // count)  # the last one may be smaller
        sizes = [max(0, min(each, x.shape[at] - i * each)) for i in range(count)]
    if min(sizes, default=0) < 0 or sum(sizes) != x.shape[at] or len(sizes) != len(node.outputs or sizes):
        raise misfit(node, f"parts of {sizes} of an axis of {x.shape[at]} elements")
    return at, sizes


def split_shape(node: Node) -> list[Shape]:
    at, sizes = _parts(node)
    shape = first(node).shape
    return [(*shape[:at], size, *shape[at + 1 :]) for size in sizes]


def lower_split(node: Node, out: Lowering) -> None:
    x, (at, sizes) = first(node), _parts(node)
    step, begin = contiguous(x.shape), 0
    for target, size in zip(node.outputs, sizes, strict=True):
        move(node, out, x.name, target.name, target.shape, step, contiguous(target.shape), begin * step[at])
        begin += size


# Slice


def _slices(node: Node) -> list[tuple[int, int, int]]:
    """(start, count, step) of every axis."""
    x = first(node)
    starts, ends = integers(node, 1, "starts"), integers(node, 2, "ends")
    assert starts is not None and ends is not None
    axes = integers(node, 3, "axes")
    steps = integers(node, 4, "steps") or [1] * len(starts)
    found = [(0, n, 1) for n in x.shape]
    for given, start, end, step in zip(range(len(starts)) if axes is None else axes, starts, ends, steps, strict=True):
        at = in_range(node, given, len(x.shape))
        taken = range(x.shape[at])[slice(start, None if step < 0 and end < -x.shape[at] else end, step)]
        found[at] = (taken.start, len(taken), step)
    return found


def slice_shape(node: Node) -> list[Shape]:
    return [tuple(count for _, count, _ in _slices(node))]


def lower_slice(node: Node, out: Lowering) -> None:
    x, target, slices = first(node), node.outputs[0], _slices(node)
    if target.shape == x.shape and all(step > 0 for _, _, step in slices):
        out.view(node, x.name, target.name)
        return
    stride = contiguous(x.shape)
    move(
        node, out, x.name, target.name, target.shape, [s * n for (_, _, s), n in zip(slices, stride, strict=True)],
        contiguous(target.shape), sum(begin * n for (begin, _, _), n in zip(slices, stride, strict=True)),
    )  # fmt: skip


# Expand and Tile


def expand_shape(node: Node) -> list[Shape]:
    wanted = integers(node, 1, "shape")
    assert wanted is not None
    if min(wanted, default=0) < 0:
        raise misfit(node, f"a shape of {wanted}")
    return [tuple(np.broadcast_shapes(first(node).shape, tuple(wanted)))]


def lower_expand(node: Node, out: Lowering) -> None:
    x, target = first(node), node.outputs[0]
    if x.size == target.size:
        out.view(node, x.name, target.name)
        return
    shape = (1,) * (len(target.shape) - len(x.shape)) + x.shape
    stride = [0 if n == 1 else s for n, s in zip(shape, contiguous(shape), strict=True)]
    move(node, out, x.name, target.name, target.shape, stride, contiguous(target.shape))


def tile_shape(node: Node) -> list[Shape]:
    repeats = integers(node, 1, "repeats")
    assert repeats is not None
    if min(repeats, default=0) < 0:
        raise misfit(node, f"repeats of {repeats}")
    return [tuple(n * r for n, r in zip(first(node).shape, repeats, strict=True))]


def lower_tile(node: Node, out: Lowering) -> None:
    x, target = first(node), node.outputs[0]
    if x.size == target.size:
        out.view(node, x.name, target.name)
        return
    # A repeated axis is two loops: at most two of them at a time, so that six loops are enough for any rank.
    repeated = [at for at, n in enumerate(x.shape) if target.shape[at] != n]
    source, shape = x.name, x.shape
    for begin in range(0, len(repeated), 2):
        axes = repeated[begin : begin + 2]
        new = tuple(target.shape[at] if at in axes else n for at, n in enumerate(shape))
        name = target.name if new == target.shape else out.temporary(node, new, x.dtype)
        dims: list[int] = []
        x_stride: list[int] = []
        for n, size, step in zip(shape, new, contiguous(shape), strict=True):
            dims += [size // max(n, 1), n]
            x_stride += [0, step]
        move(node, out, source, name, dims, x_stride, contiguous(dims))
        source, shape = name, new


def bind(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    size = DTYPES[tensors[call.inputs[0]].dtype].itemsize
    return [Binding(f"copy_b{size}", {"x": call.inputs[0], "y": call.outputs[0], **call.attrs})]


def positions(dims: Sequence[int], stride: Sequence[int], offset: int) -> Array:
    """``offset + i . stride`` for every i, in row-major order of the loops."""
    index = np.full((1,) * len(dims), offset, np.int64)
    for at, (size, step) in enumerate(zip(dims, stride, strict=True)):
        index = index + (np.arange(size) * step).reshape([-1 if i == at else 1 for i in range(len(dims))])
    return np.broadcast_to(index, tuple(dims)).reshape(-1)


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    """What no loop writes keeps the bytes 0xff, with which tests fill outputs before a call."""
    a: dict[str, Any] = dict(attrs)
    dtype = inputs[0].dtype
    y = np.full(outputs[0].bytes, 255, np.uint8).view(dtype)
    source = inputs[0].reshape(-1)[positions(a["dims"], a["x_stride"], a["x_offset"])]
    y[positions(a["dims"], a["y_stride"], a["y_offset"])] = source
    return [y.reshape(outputs[0].shape)]


def _items(a: Mapping[str, Any]) -> int:
    """As ROWS and COLUMNS of kernels_common/copy.h."""
    *outer, rows, columns = a["dims"]
    return int(prod(outer) * -(-rows // 16) * -(-columns // 1024))


register(
    Contract("copy", ("x",), ("y",), reference, bind=bind, partial=True, items=_items),
    Operator(
        "Transpose", transpose_shape, lower_transpose, "up to six dimensions that do not merge", kernels=("copy",)
    ),
    Operator("Concat", concat_shape, lower_concat, kernels=("copy",)),
    Operator("Split", split_shape, lower_split, "the sizes must be constant", kernels=("copy",)),
    Operator("Slice", slice_shape, lower_slice, "starts, ends, axes and steps must be constant", kernels=("copy",)),
    Operator("Expand", expand_shape, lower_expand, "the shape must be constant", kernels=("copy",)),
    Operator("Tile", tile_shape, lower_tile, "the repeats must be constant", kernels=("copy",)),
)
