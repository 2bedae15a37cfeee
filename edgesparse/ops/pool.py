"""MaxPool, AveragePool and their global forms: 1-D and 2-D windows over channel planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from edgesparse.ops.arguments import where
from edgesparse.ops.operator import Contract, Lowering, Operator, Unsupported, register
from edgesparse.ops.window import padding
from edgesparse.types import Array, Attr, Node, OpCall, Shape, TensorSpec


def geometry(node: Node) -> dict[str, list[int]]:
    """kernel, stride, dilation, begin and out, one entry per spatial dimension."""
    x = node.inputs[0]
    assert x is not None
    size = x.shape[2:]
    rank = len(size)
    if node.op_type.startswith("Global"):
        return {
            "kernel": list(size),
            "stride": [1] * rank,
            "dilation": [1] * rank,
            "begin": [0] * rank,
            "out": [1] * rank,
        }
    if rank not in (1, 2):
        raise Unsupported(f"{rank}-D pooling; 1-D and 2-D are supported", where=where(node), hint="pool in two steps")
    kernel = [int(k) for k in node.attrs["kernel_shape"]]
    stride = [int(s) for s in node.attrs.get("strides", [1] * rank)]
    dilation = [int(d) for d in node.attrs.get("dilations", [1] * rank)]
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    before, after = padding(node, size, extent, stride)
    out = []
    for i, n in enumerate(size):
        span = n + before[i] + after[i] - extent[i]
        count = -(-span // stride[i]) + 1 if node.attrs.get("ceil_mode", 0) else span // stride[i] + 1
        if node.attrs.get("ceil_mode", 0) and (count - 1) * stride[i] >= n + before[i]:
            count -= 1  # a window that would begin in the padding behind the plane is not computed
        out.append(count)
    return {
        "kernel": kernel,
        "stride": stride,
        "dilation": dilation,
        "begin": before,
        "out": out,
        "end": after,
    }


def shape(node: Node) -> list[Shape]:
    x = node.inputs[0]
    assert x is not None
    return [(*x.shape[:2], *geometry(node)["out"])]


def lower(node: Node, out: Lowering) -> None:
    x = node.inputs[0]
    assert x is not None
    if len(node.outputs) > 1:
        raise Unsupported("the Indices output of MaxPool", where=where(node), hint="remove the second output")
    geo = geometry(node)
    if node.op_type.startswith("Global"):  # any rank: the plane is one row
        plane = int(np.prod(x.shape[2:]))
        two = {
            "kernel": (1, plane),
            "stride": (1, 1),
            "dilation": (1, 1),
            "begin": (0, 0),
            "out": (1, 1),
            "size": (1, plane),
        }
        end = (0, 0)
    else:
        two = {
            k: ((0 if k == "begin" else 1, v[0]) if len(v) == 1 else (v[0], v[1])) for k, v in geo.items() if k != "end"
        }
        two["size"] = (1, *x.shape[2:])[-2:]  # type: ignore[assignment]
        end = (0, geo["end"][0]) if len(geo["end"]) == 1 else (geo["end"][0], geo["end"][1])
    attrs: dict[str, Attr] = {"begin": 0, "end": x.shape[0] * x.shape[1]}
    for key, value in two.items():
        attrs[f"{key}_y"], attrs[f"{key}_x"] = int(value[0]), int(value[1])
    attrs["x_plane"], attrs["y_plane"] = prod(two["size"]), prod(two["out"])
    if node.op_type.endswith("MaxPool"):
        out.call(node, "pool_max", [x.name], [node.outputs[0].name], **attrs)
        return
    attrs.update(include_pad=int(node.attrs.get("count_include_pad", 0)), end_y=end[0], end_x=end[1])
    out.call(node, "pool_avg", [x.name], [node.outputs[0].name], **attrs)


def _windows(a: Mapping[str, Any], x: Array, fill: float) -> tuple[Array, Array]:
    """(channels, out_y, out_x, kernel_y, kernel_x) values, and where they lie inside the plane."""
    r = (np.arange(a["out_y"]) * a["stride_y"] - a["begin_y"])[:, None] + np.arange(a["kernel_y"]) * a["dilation_y"]
    q = (np.arange(a["out_x"]) * a["stride_x"] - a["begin_x"])[:, None] + np.arange(a["kernel_x"]) * a["dilation_x"]
    inside = ((r >= 0) & (r < a["size_y"]))[:, None, :, None] & ((q >= 0) & (q < a["size_x"]))[None, :, None, :]
    rc, qc = r.clip(0, a["size_y"] - 1), q.clip(0, a["size_x"] - 1)
    planes = x.reshape(a["end"], a["x_plane"])[:, : a["size_y"] * a["size_x"]].reshape(-1, a["size_y"], a["size_x"])
    values = planes[:, rc[:, None, :, None], qc[None, :, None, :]]
    return np.where(inside[None], values, fill), inside


def reference_max(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    dtype = inputs[0].dtype
    values, _ = _windows(attrs, inputs[0], -np.inf if dtype.kind == "f" else float(np.iinfo(dtype).min))
    return [_spread(values.max(axis=(3, 4)), attrs, outputs[0]).astype(dtype)]


def reference_avg(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    a: dict[str, Any] = dict(attrs)
    values, inside = _windows(a, inputs[0].astype(np.float64), 0.0)
    count = inside.sum(axis=(2, 3))
    if a["include_pad"]:
        r = (np.arange(a["out_y"]) * a["stride_y"] - a["begin_y"])[:, None] + np.arange(a["kernel_y"]) * a["dilation_y"]
        q = (np.arange(a["out_x"]) * a["stride_x"] - a["begin_x"])[:, None] + np.arange(a["kernel_x"]) * a["dilation_x"]
        count = (r < a["size_y"] + a["end_y"]).sum(1)[:, None] * (q < a["size_x"] + a["end_x"]).sum(1)[None, :]
    return [_spread(values.sum(axis=(3, 4)) / count, attrs, outputs[0]).astype(np.float32)]


def _spread(y: Array, a: Mapping[str, Any], spec: TensorSpec) -> Array:
    """(planes, out_y, out_x) as the buffer of ``spec``: zeros behind every plane."""
    flat = y.reshape(a["end"], -1)
    return np.pad(flat, ((0, 0), (0, a["y_plane"] - flat.shape[1]))).reshape(spec.buffer_shape)


def pitches(call: OpCall) -> list[tuple[str, str]]:
    return [(call.inputs[0], "x_plane"), (call.outputs[0], "y_plane")]


register(
    Contract("pool_max", ("x",), ("y",), reference_max, pitches=pitches),
    Contract("pool_avg", ("x",), ("y",), reference_avg, pitches=pitches),
    Operator("MaxPool", shape, lower, "1-D and 2-D, f32, u8, i8; the Indices output is refused", kernels=("pool_max",)),
    Operator("AveragePool", shape, lower, "1-D and 2-D, f32", kernels=("pool_avg",)),
    Operator("GlobalMaxPool", shape, lower, "f32", kernels=("pool_max",)),
    Operator("GlobalAveragePool", shape, lower, "f32", kernels=("pool_avg",)),
)
