"""MatMul and Gemm. A constant right-hand side is a fully connected layer; the rest is `matmul`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from edgesparse.ops import fully_connected
from edgesparse.ops.activation import activate, epilogue
from edgesparse.ops.arguments import fits, misfit, where
from edgesparse.ops.binary import BINARY, broadcast, collapse
from edgesparse.ops.copy import move
from edgesparse.ops.operator import Contract, Lowering, Operator, Unsupported, register
from edgesparse.types import Array, Attr, Node, Shape, TensorSpec

_BATCH_LOOPS = 3
_ROWS = 16  # of a piece for a thread, as in matmul_f32.c


def matmul_shape(node: Node) -> list[Shape]:
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None and b is not None
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
    columns, inner = b.shape[:: -1 if not node.attrs.get("transB", 0) else 1]
    if inner != a.shape[0 if node.attrs.get("transA", 0) else 1]:
        raise misfit(node, f"{list(a.shape)} and {list(b.shape)} share no dimension")
    bias = node.input(2)
    if bias is not None and not fits(bias.shape, (rows, columns)):
        raise misfit(node, f"a bias of shape {list(bias.shape)} for a product of {[rows, columns]}")
    return [(rows, columns)]


def lower(node: Node, out: Lowering) -> None:
    if fully_connected.claims(node):
        fully_connected.lower(node, out)
        return
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None and b is not None
    if a.dtype != "f32":
        raise Unsupported(f"a product of {a.dtype}", where=where(node), hint="cast to float32")
    if node.op_type == "Gemm":
        _lower_gemm(node, out, a, b)
        return
    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    batch = tuple(np.broadcast_shapes(left[:-2], right[:-2]))
    dims, (a_step, b_step) = collapse(batch, left[:-2], right[:-2])
    if len(dims) > _BATCH_LOOPS:
        raise Unsupported(
            f"a batch of {len(dims)} dimensions that do not merge; {_BATCH_LOOPS} are supported", where=where(node),
            hint="Expand the smaller operand first",
        )  # fmt: skip
    m, k, n = left[-2], left[-1], right[-1]
    pad = _BATCH_LOOPS - len(dims)
    index = node.attrs.get("es_bias_input")
    _biased(
        node, out, a.name, b.name, m, n, k, 1.0, None if index is None else node.input(int(index)), 1.0, a_row=k,
        a_column=1, dims=(*[1] * pad, *dims), a_stride=(*[0] * pad, *(s * m * k for s in a_step)),
        b_stride=(*[0] * pad, *(s * k * n for s in b_step)),
    )  # fmt: skip


def _lower_gemm(node: Node, out: Lowering, a: TensorSpec, b: TensorSpec) -> None:
    (m, n), k = node.outputs[0].shape, a.shape[0 if node.attrs.get("transA", 0) else 1]
    right = b.name
    if node.attrs.get("transB", 0):  # the kernel reads rows of b
        right = out.temporary(node, (k, n))
        move(node, out, b.name, right, (k, n), (1, k), (n, 1))
    a_row, a_column = (1, m) if node.attrs.get("transA", 0) else (k, 1)
    alpha, beta = float(node.attrs.get("alpha", 1.0)), float(node.attrs.get("beta", 1.0))
    bias = node.input(2) if beta != 0 else None
    _biased(node, out, a.name, right, m, n, k, alpha, bias, beta, a_row=a_row, a_column=a_column)


def _biased(
    node: Node, out: Lowering, a: str, b: str, m: int, n: int, k: int, alpha: float, bias: TensorSpec | None,
    beta: float, **steps: Any,
) -> None:  # fmt: skip
    """``act(alpha a b + beta bias)``: one call without a bias, else the product, a sum and the activation."""
    target = node.outputs[0]
    if bias is None:
        _product(node, out, a, b, target.name, m, n, k, alpha, epilogue(node), **steps)
        return
    product = TensorSpec(out.temporary(node, target.shape), target.shape, "f32")
    _product(node, out, a, b, product.name, m, n, k, alpha, (0, 0.0, 0.0), **steps)
    if beta != 1:
        scale = out.constant(node, np.array(beta, np.float32))
        scaled = out.temporary(node, bias.shape)
        broadcast(node, out, BINARY["Mul"], bias, TensorSpec(scale, (), "f32"), scaled, bias.shape)
        bias = TensorSpec(scaled, bias.shape, "f32")
    act, lo, hi = epilogue(node)
    total = out.temporary(node, target.shape) if act else target.name
    broadcast(node, out, BINARY["Add"], product, bias, total, target.shape)
    if act:
        out.call(node, "activation", [total], [target.name], size=target.size, act=act, lo=lo, hi=hi)


def _product(
    node: Node, out: Lowering, a: str, b: str, y: str, m: int, n: int, k: int, alpha: float,
    activation: tuple[int, float, float], *, a_row: int, a_column: int, dims: Shape = (1,) * _BATCH_LOOPS,
    a_stride: Shape = (0,) * _BATCH_LOOPS, b_stride: Shape = (0,) * _BATCH_LOOPS,
) -> None:  # fmt: skip
    act, lo, hi = activation
    out.call(
        node, "matmul", [a, b], [y], dims=dims, a_stride=a_stride, b_stride=b_stride, m=m, n=n, k=k,
        a_row=a_row, a_column=a_column, b_row=n, alpha=alpha, act=act, lo=lo, hi=hi,
    )  # fmt: skip


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    p: dict[str, Any] = dict(attrs)

    def matrices(x: Array, stride: Shape, shape: Shape, steps: Shape) -> Array:
        index = np.zeros((1,) * (_BATCH_LOOPS + 2), np.int64)
        for axis, (size, step) in enumerate(zip((*p["dims"], *shape), (*stride, *steps), strict=True)):
            index = index + (np.arange(size) * step).reshape([-1 if i == axis else 1 for i in range(_BATCH_LOOPS + 2)])
        return x.reshape(-1)[index].astype(np.float64)

    a = matrices(inputs[0], p["a_stride"], (p["m"], p["k"]), (p["a_row"], p["a_column"]))
    b = matrices(inputs[1], p["b_stride"], (p["k"], p["n"]), (p["b_row"], 1))
    y = activate(p["alpha"] * (a @ b), p["act"], p["lo"], p["hi"])
    return [y.reshape(outputs[0].shape).astype(np.float32)]


register(
    Contract("matmul", ("a", "b"), ("y",), reference, items=lambda a: prod(a["dims"]) * -(-a["m"] // _ROWS)),
    Operator("MatMul", matmul_shape, lower, "f32", kernels=("matmul", "spmm", "spmv", "binary", "copy", "activation")),
    Operator("Gemm", gemm_shape, lower, "f32", kernels=("matmul", "spmm", "spmv", "binary", "copy", "activation")),
)
