"""Resize and Upsample: nearest, linear and cubic, one axis at a time.

Every output position along an axis is a weighted sum of a few input positions, both known at compile time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesparse.ops.copy import where
from edgesparse.ops.gather import gather_constant
from edgesparse.ops.operator import Contract, Lowering, Operator, Unsupported, register
from edgesparse.types import Array, Attr, Node, Shape, TensorSpec

_TAPS = {"nearest": 1, "linear": 2, "cubic": 4}


def _constant(node: Node, index: int, name: str) -> Array | None:
    spec = node.input(index)
    if spec is None:
        return None
    value = node.constant(index)
    if value is None:
        raise Unsupported(f"{name} computed at run time", where=where(node), hint="bind all shapes: --shape")
    return value if value.size else None


def _sizes(node: Node) -> tuple[Shape, list[float]]:
    """(output shape, scale per axis)."""
    x = node.inputs[0]
    assert x is not None
    rank = len(x.shape)
    old = node.op_type == "Upsample"
    scales = _constant(node, 1 if old else 2, "scales")
    sizes = None if old else _constant(node, 3, "sizes")
    axes = [int(a) % rank for a in node.attrs.get("axes", range(rank))]
    shape, factor = list(x.shape), [1.0] * rank
    if scales is not None:
        for axis, scale in zip(axes, scales, strict=True):
            factor[axis], shape[axis] = float(scale), int(np.floor(x.shape[axis] * np.float32(scale)))
        return tuple(shape), factor
    if sizes is None:
        raise Unsupported("neither scales nor sizes", where=where(node), hint="export the model again")
    wanted = [int(s) for s in sizes]
    if not x.size:
        raise Unsupported("resizing a tensor without elements", where=where(node), hint="give another --shape")
    ratios = [w / x.shape[a] for w, a in zip(wanted, axes, strict=True)]
    policy = node.attrs.get("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        ratios = [ratio] * len(axes)
        wanted = [int(np.floor(x.shape[a] * ratio + 0.5)) for a in axes]
    for axis, ratio, size in zip(axes, ratios, wanted, strict=True):
        factor[axis], shape[axis] = ratio, size
    return tuple(shape), factor


def shape(node: Node) -> list[Shape]:
    return [_sizes(node)[0]]


def _source(node: Node, n: int, out: int, scale: float, roi: tuple[float, float]) -> NDArray[np.float64]:
    """Where output position i lies on the input axis."""
    i = np.arange(out, dtype=np.float64)
    length = n * scale
    mode = (
        "asymmetric" if node.op_type == "Upsample" else node.attrs.get("coordinate_transformation_mode", "half_pixel")
    )
    if mode == "asymmetric":
        return i / scale
    if mode == "align_corners":
        return i * (n - 1) / (length - 1) if length != 1 else i * 0
    if mode == "pytorch_half_pixel":
        return (i + 0.5) / scale - 0.5 if length > 1 else i * 0 - 0.5
    if mode == "half_pixel_symmetric":
        return n / 2 * (1 - out / length) + (i + 0.5) / scale - 0.5
    if mode == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if mode == "tf_crop_and_resize":
        begin, end = roi
        if length > 1:
            return begin * (n - 1) + i * (end - begin) * (n - 1) / (length - 1)
        return i * 0 + 0.5 * (begin + end) * (n - 1)
    if mode == "half_pixel":
        return (i + 0.5) / scale - 0.5
    raise Unsupported(f"coordinate_transformation_mode {mode!r}", where=where(node), hint="use half_pixel")


def taps(node: Node, n: int, out: int, scale: float, roi: tuple[float, float]) -> tuple[Array, Array, Array]:
    """Indices (out, taps), weights (out, taps), and which outputs lie outside of the input (out,)."""
    x = _source(node, n, out, scale, roi)
    mode = node.attrs.get("mode", "nearest")
    outside = (x < 0) | (x > n - 1)
    if mode == "nearest":
        rounding = "floor" if node.op_type == "Upsample" else node.attrs.get("nearest_mode", "round_prefer_floor")
        ways = {
            "floor": np.floor(x), "ceil": np.ceil(x), "round_prefer_floor": np.ceil(x - 0.5),
            "round_prefer_ceil": np.floor(x + 0.5),
        }  # fmt: skip
        if rounding not in ways:
            raise Unsupported(f"nearest_mode {rounding!r}", where=where(node), hint=f"one of {', '.join(ways)}")
        return np.clip(ways[rounding], 0, n - 1).astype(np.int64)[:, None], np.ones((out, 1)), outside
    antialias = bool(node.attrs.get("antialias", 0)) and scale < 1
    stretch = 1 / scale if antialias else 1.0
    support = _TAPS[mode] // 2 * stretch
    low = (
        np.floor(x - support).astype(np.int64) + 1 if antialias else np.floor(x).astype(np.int64) + 1 - _TAPS[mode] // 2
    )
    count = int(np.ceil(2 * support)) + 1 if antialias else _TAPS[mode]
    index = low[:, None] + np.arange(count)[None, :]
    distance = np.abs(x[:, None] - index) / stretch
    if mode == "linear":
        weight = np.clip(1 - distance, 0, None)
    else:
        a = float(node.attrs.get("cubic_coeff_a", -0.75))
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = a * (((distance - 5) * distance + 8) * distance - 4)
        weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    if node.attrs.get("exclude_outside", 0):
        weight = np.where((index < 0) | (index >= n), 0, weight)
    if node.attrs.get("exclude_outside", 0) or antialias:
        weight = weight / weight.sum(axis=1, keepdims=True)
    return np.clip(index, 0, n - 1), weight, outside


def lower(node: Node, out: Lowering) -> None:
    x, target = node.inputs[0], node.outputs[0]
    assert x is not None
    mode = node.attrs.get("mode", "nearest")
    if mode not in _TAPS:
        raise Unsupported(f"mode {mode!r}", where=where(node), hint="use nearest, linear or cubic")
    if mode != "nearest" and x.dtype != "f32":
        raise Unsupported(f"{mode} of {x.dtype}", where=where(node), hint="cast to float32")
    shape, scales = _sizes(node)
    crop = node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    region = _constant(node, 1, "roi") if crop else None
    rank = len(x.shape)
    axes = [int(a) % rank for a in node.attrs.get("axes", range(rank))]
    roi = (
        {a: (float(region[i]), float(region[len(axes) + i])) for i, a in enumerate(axes)} if region is not None else {}
    )
    todo = [a for a in range(rank) if scales[a] != 1 or shape[a] != x.shape[a] or a in roi]
    if not todo:
        out.view(node, x.name, target.name)
        return
    # Shrinking axes first, growing ones last: less to compute.
    todo.sort(key=lambda a: (shape[a] / max(x.shape[a], 1), -a))
    source, current = x.name, x.shape
    for axis in todo:
        n = current[axis]
        index, weight, outside = taps(node, n, shape[axis], scales[axis], roi.get(axis, (0.0, 1.0)))
        if crop and outside.any():
            raise Unsupported(
                "a region that reaches outside of the input", where=where(node), hint="Pad the input first"
            )
        new = (*current[:axis], shape[axis], *current[axis + 1 :])
        name = target.name if axis == todo[-1] else out.temporary(node, new, x.dtype)
        if mode == "nearest":
            gather_constant(node, out, source, index[:, 0], name, current, axis)
        else:
            names = [source, out.constant(node, index.astype(np.int32)), out.constant(node, weight.astype(np.float32))]
            out.call(
                node, "resample", names, [name], outer=prod(current[:axis]), size=n, count=shape[axis],
                inner=prod(current[axis + 1 :]), taps=index.shape[1],
            )  # fmt: skip
        source, current = name, new


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    a: dict[str, Any] = dict(attrs)
    x = inputs[0].astype(np.float64).reshape(a["outer"], a["size"], a["inner"])
    index, weight = (inputs[i].reshape(a["count"], a["taps"]) for i in (1, 2))
    y = (x[:, index] * weight.astype(np.float64)[None, :, :, None]).sum(axis=2)
    return [y.reshape(outputs[0].shape).astype(np.float32)]


register(
    Contract("resample", ("x", "index", "weight"), ("y",), reference),
    Operator("Resize", shape, lower, "scales or sizes must be constant; tf_crop_and_resize only inside of the input"),
    Operator("Upsample", shape, lower, "the scales must be constant"),
)
