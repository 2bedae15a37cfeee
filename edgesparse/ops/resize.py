"""Resize and Upsample: nearest, linear and cubic, one axis at a time.

Every output position along an axis is a weighted sum of a few input positions, both known at compile time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesparse.ops.arguments import choice, constant, first, in_range, misfit, where
from edgesparse.ops.gather import gather_constant
from edgesparse.ops.operator import Contract, Lowering, Operator, Unsupported, register
from edgesparse.types import Array, Attr, Node, Shape, TensorSpec

_TAPS = {"nearest": 1, "linear": 2, "cubic": 4}


_MODES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)  # fmt: skip
_ROUNDING = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
_POLICIES = ("stretch", "not_larger", "not_smaller")
_HALF = np.float32(0.5)
_TIE = 1e-6  # how far from the middle of two pixels onnxruntime (1.32) still takes for the middle


def _given(node: Node, index: int, name: str) -> Array | None:
    value = constant(node, index, name)
    return value if value is not None and value.size else None


def _axes(node: Node) -> list[int]:
    rank = len(first(node).shape)
    return [in_range(node, int(axis), rank) for axis in node.attrs.get("axes", range(rank))]


def _sizes(node: Node) -> tuple[Shape, list[np.float32]]:
    """(output shape, scale per axis), computed in the precision of onnxruntime."""
    x, old = first(node), node.op_type == "Upsample"
    scales = _given(node, 1 if old else 2, "scales")
    sizes = None if old else _given(node, 3, "sizes")
    axes = _axes(node)
    shape, factor = list(x.shape), [np.float32(1)] * len(x.shape)
    given = scales if scales is not None else sizes
    if given is None or (scales is not None and sizes is not None):
        raise misfit(node, "it needs either scales or sizes")
    if given.size != len(axes):
        raise misfit(node, f"{given.size} scales or sizes for {len(axes)} axes")
    if scales is not None:
        for axis, scale in zip(axes, scales.reshape(-1).astype(np.float32), strict=True):
            if not 0 < scale < np.inf:
                raise misfit(node, f"a scale of {scale:g}")
            factor[axis], shape[axis] = scale, int(np.floor(np.float32(x.shape[axis]) * scale))
        return tuple(shape), factor
    wanted = [int(s) for s in given.reshape(-1)]
    if min(wanted) < 0:
        raise misfit(node, f"sizes of {wanted}")
    if not x.size:
        raise Unsupported("resizing a tensor without elements", where=where(node), hint="give another --shape")
    ratios = [np.float32(w) / np.float32(x.shape[a]) for w, a in zip(wanted, axes, strict=True)]
    policy = choice(node, "keep_aspect_ratio_policy", "stretch", _POLICIES)
    if policy != "stretch":
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        ratios = [ratio] * len(axes)
        wanted = [int(np.floor(np.float32(x.shape[a]) * ratio + _HALF)) for a in axes]
    for axis, ratio, size in zip(axes, ratios, wanted, strict=True):
        factor[axis], shape[axis] = ratio, size
    return tuple(shape), factor


def shape(node: Node) -> list[Shape]:
    return [_sizes(node)[0]]


def _source(node: Node, n: int, out: int, scale: np.float32, roi: tuple[float, float]) -> NDArray[np.float32]:
    """Where output position i lies on the input axis. In float32, as onnxruntime: which pixel is the nearest
    depends on the last bit. ``out`` is the size of the output, not the fractional one that ``n * scale`` would be.
    """
    old = node.op_type == "Upsample"
    i: Array = np.arange(out, dtype=np.float32)
    mode = "asymmetric" if old else choice(node, "coordinate_transformation_mode", "half_pixel", _MODES)
    last, x = np.float32(n - 1), i
    if mode == "tf_crop_and_resize":
        begin, end = (np.float32(edge) for edge in roi)
        middle = _HALF * (begin + end) * last
        x = begin * last + i * (end - begin) * last / np.float32(out - 1) if out > 1 else i * 0 + middle
    elif mode == "align_corners":
        x = i * last / np.float32(out - 1) if out > 1 else i * 0
    elif scale == 1:
        x = i
    elif mode == "asymmetric":
        x = i / scale
    elif mode == "tf_half_pixel_for_nn":
        x = (i + _HALF) / scale
    elif mode == "pytorch_half_pixel":
        x = (i + _HALF) / scale - _HALF if out > 1 else i * 0
    elif mode == "half_pixel_symmetric":  # the last step is in double precision there
        offset = np.float32(n) / 2 * (1 - np.float32(out) / (scale * np.float32(n)))
        x = np.float64(offset) + (i.astype(np.float64) + 0.5) / np.float64(scale) - 0.5
    else:
        x = (i + _HALF) / scale - _HALF
    return np.asarray(x, np.float32)


def _nearest(node: Node, x: NDArray[np.float32]) -> Array:
    old = node.op_type == "Upsample"
    rounding = "floor" if old else choice(node, "nearest_mode", "round_prefer_floor", _ROUNDING)
    if rounding in ("floor", "ceil"):
        return np.asarray(np.floor(x) if rounding == "floor" else np.ceil(x))
    low, wide = np.floor(x), x.astype(np.float64)
    tie = np.abs(wide - low - 0.5) <= _TIE
    return np.where(tie, low + (rounding == "round_prefer_ceil"), np.floor(wide + 0.5))


def taps(node: Node, n: int, out: int, scale: np.float32, roi: tuple[float, float]) -> tuple[Array, Array, Array]:
    """Indices (out, taps), weights (out, taps), and which outputs lie outside of the input (out,)."""
    x = _source(node, n, out, scale, roi)
    mode = node.attrs.get("mode", "nearest")
    outside = (x < 0) | (x > n - 1)
    if mode == "nearest":
        return np.clip(_nearest(node, x), 0, n - 1).astype(np.int64)[:, None], np.ones((out, 1)), outside
    antialias = bool(node.attrs.get("antialias", 0)) and scale < 1
    stretch = 1 / float(scale) if antialias else 1.0
    support = _TAPS[mode] // 2 * stretch
    low = (
        np.floor(x - support).astype(np.int64) + 1 if antialias else np.floor(x).astype(np.int64) + 1 - _TAPS[mode] // 2
    )
    count = int(np.ceil(2 * support)) + 1 if antialias else _TAPS[mode]
    index = low[:, None] + np.arange(count)[None, :]
    distance = np.abs(x[:, None].astype(np.float64) - index) / stretch
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
    x, target = first(node), node.outputs[0]
    mode = choice(node, "mode", "nearest", tuple(_TAPS))
    if mode != "nearest" and x.dtype != "f32":
        raise Unsupported(f"{mode} of {x.dtype}", where=where(node), hint="cast to float32")
    shape, scales = _sizes(node)
    crop = node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    region = _given(node, 1, "roi") if crop else None
    rank = len(x.shape)
    axes = _axes(node)
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
    Contract("resample", ("x", "index", "weight"), ("y",), reference, items=lambda a: a["outer"] * a["count"]),
    Operator(
        "Resize",
        shape,
        lower,
        "scales or sizes must be constant; tf_crop_and_resize only inside of the input",
        kernels=("gather", "copy", "resample"),
    ),
    Operator("Upsample", shape, lower, "the scales must be constant", kernels=("gather", "copy", "resample")),
)
