"""Reductions (ReduceSum to ReduceLogSumExp), ArgMax and ArgMin, CumSum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from edgesparse.ops.arguments import axis, first, in_range, integers, misfit, same_shape, where
from edgesparse.ops.cast import cast
from edgesparse.ops.operator import Contract, Lowering, Operator, Unsupported, register, strips
from edgesparse.types import Array, Attr, Node, Shape, TensorSpec

# The numbers of kernels_common/reduce_f32.h and reduce_f32.c.
SUM, MAX, MIN, PROD, SUM_SQUARE, L1, LOG_SUM_EXP = range(7)
NOTHING, DIVIDE, SQRT, LOG = range(4)
REDUCE = {
    "ReduceSum": (SUM, NOTHING), "ReduceMean": (SUM, DIVIDE), "ReduceMax": (MAX, NOTHING), "ReduceMin": (MIN, NOTHING),
    "ReduceProd": (PROD, NOTHING), "ReduceSumSquare": (SUM_SQUARE, NOTHING), "ReduceL1": (L1, NOTHING),
    "ReduceL2": (SUM_SQUARE, SQRT), "ReduceLogSum": (SUM, LOG), "ReduceLogSumExp": (LOG_SUM_EXP, NOTHING),
}  # fmt: skip
# smallest and largest value of types without a kernel of their own, as bytes
_LIMITS = {"bool": (0, 1), "u8": (0, 255), "i8": (128, 127)}
# what joins the results of a first pass
_AGAIN = {SUM_SQUARE: SUM, L1: SUM}


def axes(node: Node) -> list[int]:
    """The axes that vanish, sorted; none or an empty list means all unless ``noop_with_empty_axes``."""
    rank = len(first(node).shape)
    given = integers(node, 1, "axes")
    if not given:
        return [] if node.attrs.get("noop_with_empty_axes", 0) else list(range(rank))
    return sorted({in_range(node, at, rank) for at in given})


def shape(node: Node) -> list[Shape]:
    gone, keep = axes(node), node.attrs.get("keepdims", 1)
    return [tuple(1 if i in gone else n for i, n in enumerate(first(node).shape) if keep or i not in gone)]


def _runs(shape: Shape, gone: Sequence[int]) -> list[tuple[bool, int]]:
    """(vanishes, size) of neighbouring axes of one kind taken together, axes of size 1 left out."""
    runs: list[tuple[bool, int]] = []
    for at, size in enumerate(shape):
        vanishes = at in gone
        if size == 1:
            continue
        if runs and runs[-1][0] == vanishes:
            runs[-1] = (vanishes, runs[-1][1] * size)
        else:
            runs.append((vanishes, size))
    return runs


def reduce(
    node: Node, out: Lowering, x: TensorSpec, target: str, gone: Sequence[int], kind: int, finish: int = NOTHING
) -> None:
    """Emit the reduction of ``x`` over the axes ``gone``: one call for each run of neighbouring axes.

    Raises:
        Unsupported: whole numbers and a reduction that has no whole result.
    """
    if x.dtype != "f32" and (finish in (SQRT, LOG) or kind == LOG_SUM_EXP):
        raise Unsupported(f"{node.op_type} of {x.dtype}", where=where(node), hint="cast to float32")
    runs, divisor = _runs(x.shape, gone), prod(x.shape[at] for at in gone)
    todo = [i for i, (vanishes, _) in enumerate(runs) if vanishes]
    if not todo:  # each element by itself
        if kind in (SUM, MAX, MIN, PROD) and finish in (NOTHING, DIVIDE):
            out.view(node, x.name, target)
            return
        runs, todo = [(True, 1), (False, x.size)], [0]
    source = x.name
    for index in reversed(todo):
        outer, n = prod(size for _, size in runs[:index]), runs[index][1]
        inner = prod(size for _, size in runs[index + 1 :])
        last = index == todo[0]
        result = target if last else out.temporary(node, (outer, inner), x.dtype)
        out.call(
            node, "reduce", [source], [result], outer=outer, n=n, inner=inner, x_outer=n * inner, kind=kind,
            finish=finish if last else NOTHING, divisor=divisor,
        )  # fmt: skip
        runs = [*runs[:index], (False, 1), *runs[index + 1 :]]
        source, kind = result, _AGAIN.get(kind, kind)


def lower(node: Node, out: Lowering) -> None:
    reduce(node, out, first(node), node.outputs[0].name, axes(node), *REDUCE[node.op_type])


def lower_ends(node: Node, out: Lowering) -> None:
    """ReduceMax and ReduceMin. Those of small types are rare: by way of i32."""
    x, target, (kind, _) = first(node), node.outputs[0], REDUCE[node.op_type]
    if x.dtype not in _LIMITS:
        lower(node, out)
    elif x.size == 0:  # where there is nothing to compare, the other end of the type
        out.call(node, "fill", [], [target.name], size=target.size, value=_LIMITS[x.dtype][kind == MIN])
    else:
        wide = TensorSpec(out.temporary(node, x.shape, "i32"), x.shape, "i32")
        result = TensorSpec(out.temporary(node, target.shape, "i32"), target.shape, "i32")
        cast(node, out, x, wide.name, "i32")
        reduce(node, out, wide, result.name, axes(node), kind)
        cast(node, out, result, target.name, target.dtype)


def _cube(x: Array, attrs: Mapping[str, Any]) -> Array:
    return x.reshape(attrs["outer"], attrs["n"], attrs["inner"])


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    a: dict[str, Any] = dict(attrs)
    x, kind = inputs[0].reshape(a["outer"], a["x_outer"])[:, : a["n"] * a["inner"]], a["kind"]
    x = _cube(x, a)
    dtype = inputs[0].dtype
    floats = dtype.kind == "f"
    wide = x.astype(np.float64 if floats else np.int64)
    with np.errstate(all="ignore"):
        if kind in (MAX, MIN):
            ends = (-np.inf, np.inf) if floats else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            y = (np.max if kind == MAX else np.min)(wide, axis=1, initial=ends[kind == MIN])
        elif kind == PROD:
            y = np.prod(wide, axis=1)
        elif kind == LOG_SUM_EXP:
            top = np.max(wide, axis=1, keepdims=True, initial=-np.inf)
            top = np.where(np.isfinite(top), top, 0)
            y = np.log(np.sum(np.exp(wide - top), axis=1)) + top[:, 0]
        else:
            y = np.sum({SUM: wide, SUM_SQUARE: wide * wide, L1: np.abs(wide)}[kind], axis=1)
        if a["finish"] == DIVIDE and floats:
            y = y / a["divisor"]
        elif a["finish"] == DIVIDE and a["divisor"] > 1:
            y = y.astype(dtype)  # wraps
            floor = y // a["divisor"]
            y = floor + ((floor * a["divisor"] != y) & (y < 0))
        y = np.sqrt(y) if a["finish"] == SQRT else np.log(y) if a["finish"] == LOG else y
        return [np.asarray(y).astype(dtype).reshape(outputs[0].shape)]


# ArgMax and ArgMin


def arg_shape(node: Node) -> list[Shape]:
    shape = first(node).shape
    at = axis(node, 0)
    return [(*shape[:at], *((1,) if node.attrs.get("keepdims", 1) else ()), *shape[at + 1 :])]


def lower_arg(node: Node, out: Lowering) -> None:
    x = first(node)
    at = axis(node, 0)
    outer, n, inner = prod(x.shape[:at]), x.shape[at], prod(x.shape[at + 1 :])
    if n == 0:
        raise Unsupported(f"{node.op_type} of nothing", where=where(node), hint="this axis must have elements")
    out.call(
        node, "arg", [x.name], [node.outputs[0].name], outer=outer, n=n, inner=inner,
        least=int(node.op_type == "ArgMin"), last=int(bool(node.attrs.get("select_last_index", 0))),
    )  # fmt: skip


def reference_arg(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    x, function = _cube(inputs[0], attrs), np.argmin if attrs["least"] else np.argmax
    y = x.shape[1] - 1 - function(x[:, ::-1], axis=1) if attrs["last"] else function(x, axis=1)
    return [np.asarray(y).astype(np.int64).reshape(outputs[0].shape)]


# CumSum


def lower_cumsum(node: Node, out: Lowering) -> None:
    x, given = first(node), integers(node, 1, "axis")
    assert given is not None
    if len(given) != 1:
        raise misfit(node, f"{len(given)} axes instead of one")
    at = in_range(node, given[0], len(x.shape))
    out.call(
        node, "cumsum", [x.name], [node.outputs[0].name], outer=prod(x.shape[:at]), n=x.shape[at],
        inner=prod(x.shape[at + 1 :]), exclusive=int(node.attrs.get("exclusive", 0)),
        reverse=int(node.attrs.get("reverse", 0)),
    )  # fmt: skip


def reference_cumsum(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    x, dtype = _cube(inputs[0], attrs), inputs[0].dtype
    x = x.astype(np.float64) if dtype.kind == "f" else x
    x = x[:, ::-1] if attrs["reverse"] else x
    with np.errstate(all="ignore"):
        y = np.cumsum(x, axis=1, dtype=x.dtype)
    if attrs["exclusive"]:
        y = np.concatenate([np.zeros_like(y[:, :1]), y[:, :-1]], axis=1)
    y = y[:, ::-1] if attrs["reverse"] else y
    return [y.astype(dtype).reshape(outputs[0].shape)]


def _types(name: str) -> str:
    kind, finish = REDUCE[name]
    if kind == LOG_SUM_EXP or finish in (SQRT, LOG):
        return "f32 only"
    return "f32, i64, i32, i8, u8, bool" if kind in (MAX, MIN) else "f32, i64, i32"


register(
    Contract("reduce", ("x",), ("y",), reference, pitches=lambda call: [(call.inputs[0], "x_outer")], items=strips),
    Contract("arg", ("x",), ("y",), reference_arg),
    Contract("cumsum", ("x",), ("y",), reference_cumsum, in_place=(0,)),
    *(
        Operator(
            name,
            shape,
            lower_ends if kind in (MAX, MIN) else lower,
            f"{_types(name)}; axes must be constant",
            kernels=("reduce", "cast", "fill") if kind in (MAX, MIN) else ("reduce",),
        )
        for name, (kind, _) in REDUCE.items()
    ),
    Operator("ArgMax", arg_shape, lower_arg, "f32, i64, i32", kernels=("arg",)),
    Operator("ArgMin", arg_shape, lower_arg, "f32, i64, i32", kernels=("arg",)),
    Operator("CumSum", same_shape, lower_cumsum, "f32, i64, i32; the axis must be constant", kernels=("cumsum",)),
)
