"""Normalisations: LayerNormalization, RMSNormalization, Instance-, Group-, Batch- and LpNormalization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from edgesparse.ops.arguments import axis, misfit, same_shape, where
from edgesparse.ops.binary import BINARY, broadcast, expand
from edgesparse.ops.operator import Contract, Lowering, Operator, Unsupported, register, spans, strips
from edgesparse.ops.reduce import DIVIDE, L1, NOTHING, SQRT, SUM, SUM_SQUARE, reduce
from edgesparse.ops.unary import UNARY
from edgesparse.types import Array, Attr, Node, Shape, TensorSpec


def _inputs(node: Node) -> list[TensorSpec]:
    return [i for i in node.inputs if i is not None]


def _filled(node: Node, out: Lowering, parameter: TensorSpec, shape: Shape) -> str:
    """The name of ``parameter`` broadcast to ``shape``: itself, a new constant, or an expanded copy.

    Raises:
        Unsupported: it changes along axes that are not normalised.
    """
    own = parameter.shape[max(len(parameter.shape) - len(shape), 0) :]
    padded = (1,) * (len(shape) - len(own)) + own
    fits = all(n in (1, size) for n, size in zip(padded, shape, strict=True))
    if prod(own) != parameter.size or not fits:
        raise Unsupported(
            f"a scale or bias of shape {parameter.shape}", where=where(node), hint="multiply behind this node instead"
        )
    if parameter.size == prod(shape):
        return parameter.name
    value = node.constants.get(parameter.name)
    if value is not None:
        return out.constant(node, np.ascontiguousarray(np.broadcast_to(value.reshape(padded), shape)))
    return expand(node, out, TensorSpec(parameter.name, own, parameter.dtype), shape).name


def _norm(
    node: Node, out: Lowering, parameters: Sequence[str], outer: int, n: int, *, inner: int = 1, groups: int = 1,
    run: int = 1, center: bool = True,
) -> None:  # fmt: skip
    out.call(
        node, "norm", [_inputs(node)[0].name, *parameters], [node.outputs[0].name], outer=outer, n=n, inner=inner,
        groups=groups, run=run, epsilon=float(node.attrs.get("epsilon", 1e-5)), center=int(center),
    )  # fmt: skip


def lower_layer(node: Node, out: Lowering) -> None:
    """LayerNormalization over ``axis`` and all behind it, or over ``es_axis`` alone."""
    if len(node.outputs) > 1:
        _statistics(node, out, _inputs(node)[0])
    _rows(node, out, center=True)


def lower_rms(node: Node, out: Lowering) -> None:
    """RMSNormalization: the same around 0 instead of the mean, and without bias."""
    _rows(node, out, center=False)


def _rows(node: Node, out: Lowering, center: bool) -> None:
    x, *parameters = _inputs(node)
    if "es_axis" in node.attrs:  # internal: the layout pass turned the last axis into this one
        at = int(node.attrs["es_axis"]) % len(x.shape)
        n, inner = x.shape[at], prod(x.shape[at + 1 :])
        for parameter in parameters:
            if parameter.size != n:
                raise Unsupported(f"a scale or bias of {parameter.shape}", where=where(node), hint="report this")
        _norm(node, out, [p.name for p in parameters], prod(x.shape[:at]), n, inner=inner, center=center)
        return
    at = axis(node)
    shape = x.shape[at:]
    names = [_filled(node, out, p, shape) for p in parameters]
    _norm(node, out, names, prod(x.shape[:at]), prod(shape), center=center)


def _statistics(node: Node, out: Lowering, x: TensorSpec) -> None:
    """The outputs Mean and InvStdDev, which inference hardly ever reads: calls of their own."""
    if len(node.outputs) != 3 or "es_axis" in node.attrs:
        raise Unsupported(
            f"one more output, {node.outputs[1].name!r}", where=where(node),
            hint="ask for both Mean and InvStdDev, or for none of them",
        )  # fmt: skip
    mean, inverse = node.outputs[1], node.outputs[2]
    axes = range(axis(node), len(x.shape))
    reduce(node, out, x, mean.name, axes, SUM, DIVIDE)
    centred = out.temporary(node, x.shape)
    broadcast(node, out, BINARY["Sub"], x, mean, centred, x.shape)
    variance, spread, deviation = (out.temporary(node, inverse.shape) for _ in range(3))
    reduce(node, out, out.tensors[centred], variance, axes, SUM_SQUARE, DIVIDE)
    epsilon = out.tensors[out.constant(node, np.array(node.attrs.get("epsilon", 1e-5), np.float32))]
    broadcast(node, out, BINARY["Add"], out.tensors[variance], epsilon, spread, inverse.shape)
    for kind, source, target in (("Sqrt", spread, deviation), ("Reciprocal", deviation, inverse.name)):
        out.call(node, "unary", [source], [target], size=inverse.size, kind=UNARY[kind], a=0.0, b=0.0)


def _per_channel(node: Node) -> list[TensorSpec]:
    """The inputs. Raises InputError where a parameter does not hold one number a channel."""
    x, *parameters = _inputs(node)
    channels = x.shape[1] if len(x.shape) > 1 else 1
    for parameter in parameters:
        if parameter.shape != (channels,):
            raise misfit(node, f"a parameter of shape {list(parameter.shape)} for {channels} channels")
    return [x, *parameters]


def lower_instance(node: Node, out: Lowering) -> None:
    x, scale, bias = _per_channel(node)
    (images, channels), pixels = x.shape[:2], prod(x.shape[2:])
    _norm(node, out, [scale.name, bias.name], images * channels, pixels, groups=channels, run=max(pixels, 1))


def lower_group(node: Node, out: Lowering) -> None:
    """One scale and bias a channel, as since opset 21; onnx itself refuses the older, deprecated form."""
    x, scale, bias = _per_channel(node)
    groups, (images, channels), pixels = int(node.attrs["num_groups"]), x.shape[:2], prod(x.shape[2:])
    if groups < 1 or channels % groups:
        raise Unsupported(f"{channels} channels in {groups} groups", where=where(node), hint="use a divisor")
    n = channels // groups * pixels
    _norm(node, out, [scale.name, bias.name], images * groups, n, groups=groups, run=max(pixels, 1))


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    a: dict[str, Any] = dict(attrs)
    outer, n, run = a["outer"], a["n"], a["run"]
    x = inputs[0].astype(np.float64).reshape(outer, n, a["inner"])
    if not x.size:
        return [np.zeros(outputs[0].shape, np.float32)]
    mean = x.mean(axis=1, keepdims=True) if a["center"] else 0.0
    variance = np.square(x - mean).mean(axis=1, keepdims=True)
    y = (x - mean) / np.sqrt(variance + float(np.float32(a["epsilon"])))
    channel = (np.arange(outer) % a["groups"])[:, None] * (n // run) + np.arange(n)[None] // run
    y = y * inputs[1].astype(np.float64).reshape(-1)[channel][:, :, None]
    if len(inputs) > 2:
        y = y + inputs[2].astype(np.float64).reshape(-1)[channel][:, :, None]
    return [y.astype(np.float32).reshape(outputs[0].shape)]


def lower_batch(node: Node, out: Lowering) -> None:
    """``y = x a + b`` per channel, ``a = scale / sqrt(var + epsilon)``, ``b = bias - mean a``."""
    if node.attrs.get("training_mode", 0):
        raise Unsupported("BatchNormalization in training mode", where=where(node), hint="export the model in eval()")
    x, scale, bias, mean, var = _per_channel(node)
    epsilon = np.float32(node.attrs.get("epsilon", 1e-5))
    channels = scale.size
    known = [node.constants.get(i.name) for i in (scale, bias, mean, var)]
    if all(k is not None for k in known):
        s, b, m, v = (np.asarray(k, np.float64) for k in known)
        factor = s / np.sqrt(v + epsilon)
        names = [out.constant(node, z.astype(np.float32)) for z in (factor, b - m * factor)]
    else:
        names = _factors(node, out, scale, bias, mean, var, epsilon)
    images = x.shape[0] if x.shape else 1
    out.call(
        node, "scale_shift", [x.name, *names], [node.outputs[0].name], outer=images, channels=channels,
        inner=prod(x.shape[2:]),
    )  # fmt: skip


def _factors(
    node: Node, out: Lowering, scale: TensorSpec, bias: TensorSpec, mean: TensorSpec, var: TensorSpec, epsilon: Any
) -> list[str]:
    """The factor and the summand of every channel, computed at run time."""

    def binary(kind: str, left: TensorSpec, right: TensorSpec) -> TensorSpec:
        name = out.temporary(node, scale.shape)
        broadcast(node, out, BINARY[kind], left, right, name, scale.shape)
        return out.tensors[name]

    spread = binary("Add", var, out.tensors[out.constant(node, np.array(epsilon, np.float32))])
    root = out.temporary(node, scale.shape)
    out.call(node, "unary", [spread.name], [root], size=scale.size, kind=UNARY["Sqrt"], a=0.0, b=0.0)
    factor = binary("Div", scale, out.tensors[root])
    return [factor.name, binary("Sub", bias, binary("Mul", mean, factor)).name]


def reference_scale_shift(
    inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]
) -> list[Array]:
    x, a, b = (i.astype(np.float64) for i in inputs)
    cube = x.reshape(attrs["outer"], attrs["channels"], attrs["inner"])  # type: ignore[arg-type]
    y = cube * a.reshape(-1, 1) + b.reshape(-1, 1)
    return [y.astype(np.float32).reshape(outputs[0].shape)]


def lower_lp(node: Node, out: Lowering) -> None:
    """``x / |x|`` along one axis, p 1 or 2; where the norm is 0 the result is 0."""
    x = _inputs(node)[0]
    at, p = axis(node), int(node.attrs.get("p", 2))
    if p not in (1, 2):
        raise Unsupported(f"p {p}", where=where(node), hint="use p 1 or 2")
    shape = (*x.shape[:at], 1, *x.shape[at + 1 :])
    norm, is_zero, divisor = (out.temporary(node, shape, dtype) for dtype in ("f32", "bool", "f32"))
    reduce(node, out, x, norm, [at], *((L1, NOTHING) if p == 1 else (SUM_SQUARE, SQRT)))
    zero, one = (out.constant(node, np.array(value, np.float32)) for value in (0, 1))
    dims, own, single = (1, 1, 1, prod(shape)), (0, 0, 0, 1), (0, 0, 0, 0)
    out.call(node, "compare", [norm, zero], [is_zero], kind=0, dims=dims, a_stride=own, b_stride=single)
    out.call(
        node, "where", [is_zero, one, norm], [divisor], dims=dims, c_stride=own, a_stride=single, b_stride=own
    )  # fmt: skip
    broadcast(node, out, BINARY["Div"], x, TensorSpec(divisor, shape, "f32"), node.outputs[0].name, x.shape)


def layer_shape(node: Node) -> list[Shape]:
    """Y; Mean and InvStdDev keep the normalised axes with size 1."""
    x = _inputs(node)[0].shape
    at = axis(node)
    small = (*x[:at], *(1 for _ in x[at:]))
    return [x, small, small]


def _scale_shift_items(a: Mapping[str, Any]) -> int:
    return int(a["outer"] * (spans(a["channels"]) if a["inner"] == 1 else a["channels"]))


register(
    Contract("norm", ("x", "scale", "bias"), ("y",), reference, in_place=(0,), items=strips),
    Contract("scale_shift", ("x", "a", "b"), ("y",), reference_scale_shift, in_place=(0,), items=_scale_shift_items),
    Operator(
        "LayerNormalization",
        layer_shape,
        lower_layer,
        "f32 only; Mean and InvStdDev both or none",
        kernels=("norm", "reduce", "binary", "unary", "copy"),
    ),
    Operator("RMSNormalization", same_shape, lower_rms, "f32 only", kernels=("norm", "copy")),
    Operator("InstanceNormalization", same_shape, lower_instance, "f32 only", kernels=("norm",)),
    Operator("GroupNormalization", same_shape, lower_group, "f32 only", kernels=("norm",)),
    Operator(
        "BatchNormalization",
        same_shape,
        lower_batch,
        "f32 only; no training mode",
        kernels=("scale_shift", "binary", "unary"),
    ),
    Operator(
        "LpNormalization", same_shape, lower_lp, "f32 only; p 1 or 2", kernels=("reduce", "compare", "where", "binary")
    ),
)
