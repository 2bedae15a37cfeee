"""DepthToSpace and SpaceToDepth: strided copies of six loops."""

from __future__ import annotations

from edgesparse.ops.arguments import choice, contiguous, first, misfit
from edgesparse.ops.copy import move
from edgesparse.ops.operator import Lowering, Operator, register
from edgesparse.types import Node, Shape

_ORDERS = ("DCR", "CRD")


def _block(node: Node, whole: bool) -> int:
    """``blocksize``. Raises InputError where the channels or, ``not whole``, the plane are no multiple of it."""
    shape, block = first(node).shape, int(node.attrs["blocksize"])
    choice(node, "mode", "DCR", _ORDERS)
    if len(shape) != 4 or block < 1 or (shape[1] % block**2 if whole else shape[2] % block or shape[3] % block):
        raise misfit(node, f"blocksize {block} does not divide {list(shape)}")
    return block


def depth_to_space_shape(node: Node) -> list[Shape]:
    block = _block(node, whole=True)
    n, c, h, w = first(node).shape
    return [(n, c // block**2, h * block, w * block)]


def lower_depth_to_space(node: Node, out: Lowering) -> None:
    x, target, b = first(node), node.outputs[0], int(node.attrs["blocksize"])
    n, c, h, w = x.shape
    depth = c // b**2
    # y[n, d, h, i, w, j] = x[n, (i, j, d) or (d, i, j), h, w]
    crd = node.attrs.get("mode", "DCR") == "CRD"
    d_step, i_step, j_step = (b * b, b, 1) if crd else (1, b * depth, depth)
    dims = (n, depth, h, b, w, b)
    x_stride = (c * h * w, d_step * h * w, w, i_step * h * w, 1, j_step * h * w)
    move(node, out, x.name, target.name, dims, x_stride, contiguous(dims))


def space_to_depth_shape(node: Node) -> list[Shape]:
    block = _block(node, whole=False)
    n, c, h, w = first(node).shape
    return [(n, c * block**2, h // block, w // block)]


def lower_space_to_depth(node: Node, out: Lowering) -> None:
    x, target, b = first(node), node.outputs[0], int(node.attrs["blocksize"])
    n, c, h, w = x.shape
    # y[n, (i, j, c) or (c, i, j), h, w] = x[n, c, (h, i), (w, j)]
    loops = [(b, w), (b, 1), (c, h * w)]
    if node.attrs.get("mode", "DCR") == "CRD":
        loops = [loops[2], *loops[:2]]
    dims = (n, *(size for size, _ in loops), h // b, w // b)
    x_stride = (c * h * w, *(step for _, step in loops), b * w, b)
    move(node, out, x.name, target.name, dims, x_stride, contiguous(dims))


register(
    Operator("DepthToSpace", depth_to_space_shape, lower_depth_to_space, kernels=("copy",)),
    Operator("SpaceToDepth", space_to_depth_shape, lower_space_to_depth, kernels=("copy",)),
)
