"""MatMul and Gemm. A constant right-hand side is a fully connected layer; the rest is `matmul`."""

from __future__ import annotations

from edgesparse.ops import fully_connected
from edgesparse.ops.operator import Lowering, Operator, Unsupported, register
from edgesparse.types import Node, Shape


def matmul_shape(node: Node) -> list[Shape]:
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None and b is not None
    import numpy as np

    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    batch = tuple(np.broadcast_shapes(left[:-2], right[:-2]))
    rows = left[-2:-1] if len(a.shape) > 1 else ()
    columns = right[-1:] if len(b.shape) > 1 else ()
    return [(*batch, *rows, *columns)]


def gemm_shape(node: Node) -> list[Shape]:
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None and b is not None
    rows = a.shape[1] if node.attrs.get("transA", 0) else a.shape[0]
    columns = b.shape[0] if node.attrs.get("transB", 0) else b.shape[1]
    return [(rows, columns)]


def lower(node: Node, out: Lowering) -> None:
    if fully_connected.claims(node):
        fully_connected.lower(node, out)
        return
    shapes = " ".join("x".join(map(str, s.shape)) for s in node.inputs if s)
    raise Unsupported(
        "a product of two activations", where=f"{node.op_type} '{node.name}' ({shapes})",
        hint="make the right-hand side a constant weight",
    )  # fmt: skip


register(
    Operator("MatMul", matmul_shape, lower, "constant right-hand side, f32"),
    Operator("Gemm", gemm_shape, lower, "constant right-hand side and bias, f32"),
)
