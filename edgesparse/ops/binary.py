"""Element-wise operators of two tensors with broadcasting: arithmetic, Min, Max, Sum, Mean, Mod, Pow, bits, PRelu."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgesparse.ops.arguments import contiguous, fits, misfit, where
from edgesparse.ops.cast import cast
from edgesparse.ops.copy import move, positions
from edgesparse.ops.operator import Contract, Lowering, Operator, Unsupported, register, spans_of_runs
from edgesparse.types import DTYPES, Array, Attr, Node, Shape, TensorSpec

# The numbers of kernels_common/binary.h.
BINARY = {
    "Add": 0, "Sub": 1, "Mul": 2, "Div": 3, "Min": 4, "Max": 5, "Pow": 6, "Mod": 7, "Fmod": 8, "BitwiseAnd": 9,
    "BitwiseOr": 10, "BitwiseXor": 11, "PRelu": 12,
}  # fmt: skip
_NAMES = {v: k for k, v in BINARY.items()}
_BITS = ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
# the ONNX operators that are calls of other kinds
_SPELLED = {"Sum": "Add", "Mean": "Add"}
LOOPS = 4


def shape(node: Node) -> list[Shape]:
    shapes = [i.shape for i in node.inputs if i is not None]
    try:
        result = tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        raise misfit(node, f"shapes {' and '.join(str(list(s)) for s in shapes)} do not broadcast") from None
    if node.op_type == "PRelu" and not fits(shapes[1], shapes[0]):
        raise misfit(node, f"a slope of shape {list(shapes[1])} for an input of {list(shapes[0])}")
    return [result]


def collapse(out: Shape, *operands: Shape) -> tuple[list[int], list[list[int]]]:
    """Fewest dimensions of ``out`` with the element strides of every operand (0 where broadcast).

    Neighbouring dimensions merge when every operand walks through both without a jump.
    """
    strides = []
    for operand in operands:
        padded = (1,) * (len(out) - len(operand)) + tuple(operand)
        step, own = 1, [0] * len(out)
        for i in reversed(range(len(out))):
            own[i] = step if padded[i] != 1 else 0
            step *= padded[i]
        strides.append(own)
    dims: list[int] = []
    kept: list[list[int]] = [[] for _ in operands]
    for i, size in enumerate(out):
        if size == 1:
            continue
        if dims and all(k[-1] == s[i] * size for k, s in zip(kept, strides, strict=True)):
            dims[-1] *= size
            for k, s in zip(kept, strides, strict=True):
                k[-1] = s[i]
            continue
        dims.append(size)
        for k, s in zip(kept, strides, strict=True):
            k.append(s[i])
    return dims, kept


def loops(node: Node, out: Lowering, shape: Shape, *operands: TensorSpec) -> tuple[Shape, list[Shape], list[str]]:
    """(dims, strides of every operand), four each, and the operands: loops of an element-wise kernel over ``shape``.

    Where four are not enough, operands are written out in the shape of the result first, small ones before large.

    Raises:
        Unsupported: that needs more than the six loops of a copy.
    """
    specs = list(operands)
    dims, strides = collapse(shape, *(o.shape for o in specs))
    for index in sorted(range(len(specs)), key=lambda i: specs[i].size):
        if len(dims) <= LOOPS:
            break
        if specs[index].shape != shape:
            specs[index] = expand(node, out, specs[index], shape)
            dims, strides = collapse(shape, *(o.shape for o in specs))
    pad = LOOPS - len(dims)
    return (*[1] * pad, *dims), [(*[0] * pad, *s) for s in strides], [o.name for o in specs]


def expand(node: Node, out: Lowering, x: TensorSpec, shape: Shape) -> TensorSpec:
    """``x`` broadcast to ``shape``, written out."""
    name = out.temporary(node, shape, x.dtype)
    padded = (1,) * (len(shape) - len(x.shape)) + x.shape
    stride = [0 if n == 1 else step for n, step in zip(padded, contiguous(padded), strict=True)]
    move(node, out, x.name, name, shape, stride, contiguous(shape))
    return out.tensors[name]


def operand(x: Array, dims: Sequence[int], stride: Sequence[int]) -> Array:
    """What an element-wise kernel reads of ``x``, in the order of its output, flat."""
    return np.asarray(x.reshape(-1)[positions(dims, stride, 0)])


def broadcast(
    node: Node, out: Lowering, kind: int, left: TensorSpec, right: TensorSpec, target: str, shape: Shape
) -> None:
    """Emit ``target = kind(left, right)`` of ``shape``. Raises Unsupported as `loops`."""
    dims, (a, b), names = loops(node, out, shape, left, right)
    out.call(node, "binary", names, [target], kind=kind, dims=dims, a_stride=a, b_stride=b)


def _of_one_type(node: Node, out: Lowering, left: TensorSpec, right: TensorSpec) -> TensorSpec:
    """``right`` in the type of ``left``: only Pow takes two types. A constant exponent is converted here.

    Raises:
        Unsupported: an exponent that is no number of the base's type.
    """
    if left.dtype == right.dtype:
        return right
    value = node.constants.get(right.name)
    if value is not None:
        converted = value.astype(DTYPES[left.dtype])
        if left.dtype == "f32" or np.array_equal(converted, value):
            return out.tensors[out.constant(node, converted)]
    elif left.dtype == "f32" or (left.dtype, right.dtype) == ("i64", "i32"):
        name = out.temporary(node, right.shape, left.dtype)
        cast(node, out, right, name, left.dtype)
        return out.tensors[name]
    raise Unsupported(
        f"operands of two types, {left.dtype} and {right.dtype}", where=where(node),
        hint="put a Cast before one of them",
    )  # fmt: skip


def _kind(node: Node, dtype: str) -> int:
    """The number of the kernel's operation. Raises Unsupported for an operator that ``dtype`` does not have."""
    name = _SPELLED.get(node.op_type, node.op_type)
    if name == "Mod" and node.attrs.get("fmod", 0):
        name = "Fmod"
    if (name in _BITS and dtype == "f32") or (name == "PRelu" and dtype != "f32"):
        raise Unsupported(f"{node.op_type} of {dtype}", where=where(node), hint="cast before and behind this node")
    return BINARY[name]


def lower(node: Node, out: Lowering) -> None:
    specs = [i for i in node.inputs if i is not None]
    target = node.outputs[0].name
    if len(specs) == 1:  # Min, Max, Sum and Mean of one tensor
        out.view(node, specs[0].name, target)
        return
    left = specs[0]
    kind = _kind(node, left.dtype)
    for index, right in enumerate(specs[1:]):
        shape = tuple(np.broadcast_shapes(left.shape, right.shape))
        last = index == len(specs) - 2 and node.op_type != "Mean"
        result = target if last else out.temporary(node, shape, left.dtype)
        broadcast(node, out, kind, left, right, result, shape)
        left = TensorSpec(result, shape, left.dtype)
    if node.op_type == "Mean":
        count = out.tensors[out.constant(node, np.array(len(specs), DTYPES[left.dtype]))]
        broadcast(node, out, BINARY["Div"], left, count, target, left.shape)


def lower_pow(node: Node, out: Lowering) -> None:
    base, exponent = node.inputs[0], node.inputs[1]
    assert base is not None and exponent is not None
    right, kind = _of_one_type(node, out, base, exponent), BINARY["Pow"]
    if _is_two(node.constant(1)):
        right, kind = base, BINARY["Mul"]
    broadcast(node, out, kind, base, right, node.outputs[0].name, node.outputs[0].shape)


def _is_two(exponent: Array | None) -> bool:
    """x * x is exact and a vector loop; only a scalar exponent leaves the shape of x."""
    return exponent is not None and exponent.size == 1 and exponent.ndim == 0 and float(exponent) == 2.0


def lower_not(node: Node, out: Lowering) -> None:
    """BitwiseNot(x) is x xor -1."""
    x = node.inputs[0]
    assert x is not None
    if x.dtype not in ("i64", "i32"):
        raise Unsupported(f"BitwiseNot of {x.dtype}", where=where(node), hint="cast to int32")
    ones = out.tensors[out.constant(node, np.array(-1, DTYPES[x.dtype]))]
    broadcast(node, out, BINARY["BitwiseXor"], x, ones, node.outputs[0].name, x.shape)


def _whole(kind: str, x: Array, y: Array) -> Array:
    """Of whole numbers: division is cut towards zero and gives 0 by zero; everything wraps."""
    divisor = np.where(y == 0, 1, y)
    if kind == "Div":
        floor = x // divisor
        return np.where(y == 0, 0, floor + ((floor * divisor != x) & ((x < 0) != (y < 0))))
    if kind in ("Mod", "Fmod"):
        return np.where(y == 0, 0, (np.mod if kind == "Mod" else np.fmod)(x, divisor))
    if kind == "Pow":
        sign = np.where(y % 2 == 0, 1, -1)
        below = np.where(x == 1, 1, np.where(x == -1, sign, 0))
        return np.where(y < 0, below, np.power(x, np.maximum(y, 0)))
    bits = {"BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor}
    return np.asarray((_SIMPLE | bits)[kind](x, y))


_SIMPLE: dict[str, Callable[[Array, Array], Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Min": np.minimum, "Max": np.maximum,
    "Pow": np.power, "Mod": np.mod, "Fmod": np.fmod, "PRelu": lambda x, y: np.where(x < 0, x * y, x),
}  # fmt: skip


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    a: dict[str, Any] = dict(attrs)
    x, y = operand(inputs[0], a["dims"], a["a_stride"]), operand(inputs[1], a["dims"], a["b_stride"])
    kind = _NAMES[a["kind"]]
    with np.errstate(all="ignore"):
        if x.dtype.kind in "iu":
            z = _whole(kind, x, y)
        else:
            z = np.asarray(_SIMPLE[kind](x.astype(np.float64), y.astype(np.float64)))
        return [z.reshape(outputs[0].shape).astype(inputs[0].dtype)]


register(
    Contract("binary", ("a", "b"), ("y",), reference, in_place=(0, 1), items=spans_of_runs),
    *(
        Operator(name, shape, lower, "f32, i64, i32; both operands of one type", kernels=("binary", "copy"))
        for name in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean", "Mod")
    ),
    Operator(
        "Pow", shape, lower_pow, "f32, i64, i32; whole exponents of another type", kernels=("binary", "cast", "copy")
    ),
    Operator("PRelu", shape, lower, "f32 only", kernels=("binary", "copy")),
    *(Operator(name, shape, lower, "i64, i32", kernels=("binary", "copy")) for name in _BITS),
    Operator("BitwiseNot", shape, lower_not, "i64, i32", kernels=("binary",)),
)
