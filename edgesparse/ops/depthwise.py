"""The depthwise convolution: every input channel has filters of its own, so that no weight can be left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from math import prod
from typing import Any

import numpy as np

from edgesparse.ops.activation import activate
from edgesparse.ops.cost import LANES, overlapped_us, running
from edgesparse.ops.operator import Constants, Contract, Lowering, Tensors, register
from edgesparse.ops.packing import pad_rows
from edgesparse.ops.planes import planes
from edgesparse.ops.window import Window
from edgesparse.types import DTYPES, Array, Attr, Binding, Machine, Node, OpCall, TensorSpec

BEFORE, BEHIND = 16, 64  # ES_DW_BEFORE and ES_DW_BEHIND in depthwise_square.h


def lower_depthwise(
    node: Node, out: Lowering, x: TensorSpec, win: Window, weight: Array,
    bias: Array | None, slope: Array | None, extra: Mapping[str, Attr],
) -> None:  # fmt: skip
    """One ``depthwise`` call. ``weight`` is (Cout, 1, *kernel); ``slope`` one value or one per output channel."""
    channels = weight.shape[0]
    inputs = [
        x.name,
        out.constant(node, np.ascontiguousarray(weight.reshape(channels, -1), np.float32)),
        out.constant(node, pad_rows(bias, 1, channels)),
    ]
    if slope is not None:
        inputs.append(out.constant(node, np.broadcast_to(slope.reshape(-1), channels).astype(np.float32)))
    out.call(
        node, "depthwise", inputs, [node.outputs[0].name],
        images=x.shape[0], channels=x.shape[1], multiplier=channels // x.shape[1], height=win.size[0],
        width=win.size[1], x_plane=win.size[0] * win.size[1], rows=win.out[0], columns=win.out[1],
        y_plane=win.out[0] * win.out[1], kernel_y=win.kernel[0], kernel_x=win.kernel[1],
        stride_y=win.stride[0], stride_x=win.stride[1], dilation_y=win.dilation[0], dilation_x=win.dilation[1],
        before_y=win.before[0], before_x=win.before[1], after_y=win.after[0], after_x=win.after[1], **extra,
    )  # fmt: skip


def bind_depthwise(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    """``depthwise_square`` for the usual 3x3 and 5x5, which reads x as it is; ``depthwise`` for the others."""
    a: dict[str, Any] = dict(call.attrs)
    weight = constants[call.inputs[1]]
    slope = call.inputs[3] if len(call.inputs) > 3 else None
    common = {**dict(zip(("x", "w", "bias"), call.inputs, strict=False)), "slope": slope, "y": call.outputs[0]}
    kernel, stride, dilation, before = (
        (a[f"{key}_y"], a[f"{key}_x"]) for key in ("kernel", "stride", "dilation", "before")
    )
    square = kernel[0] == kernel[1] in (3, 5) and stride[0] == stride[1] in (1, 2) and dilation == (1, 1)
    dtype = tensors[call.inputs[0]].dtype
    machine, size = running(machine, dtype), DTYPES[dtype].itemsize

    # a few cycles for each vector of multiply-adds, and the planes come from memory
    pixels = prod((a["images"], weight.shape[0], a["rows"], a["columns"]))
    traffic = size * (pixels + prod((a["images"], a["channels"], a["height"], a["width"])))
    cycles = pixels / LANES[machine.isa] * weight.shape[1] * 0.9
    us = overlapped_us(machine, cycles, traffic)

    def binding(kernel: str, order: float, scratch: int, arguments: Mapping[str, Any]) -> Binding:
        return Binding(
            f"{kernel}_{dtype}", {**common, **names, **a, **arguments, "begin": 0, "end": a["channels"]},
            pack=partial(_halves, weight, names["w"]) if names else None, scratch_bytes=scratch * size,
            predicted_us=order * us, dense_us=us, pattern="dense",
            zeros=1 - np.count_nonzero(weight) / max(weight.size, 1),
            macs=prod((a["images"], weight.size, a["rows"], a["columns"])),
            reason="depthwise: one input channel per output, nothing to skip",
        )  # fmt: skip

    names = {"w": f"{call.name}.w"} if dtype == "f16" else {}
    found = []
    if square and max(before) < kernel[0]:
        extra = {
            "kernel": kernel[0], "stride": stride[0], "top": before[0], "left": before[1],
            "padding": a["y_plane"] - a["rows"] * a["columns"],
        }  # fmt: skip
        # a plane that may be read beyond its ends, and a row of zeros
        scratch = (a["height"] + 1) * a["width"] + 2 * (BEFORE + BEHIND)
        found.append(binding("depthwise_square", 1.0, scratch, extra))
    if dtype == "f16":  # the others stay f32
        return found
    plane, after, out = (a["height"], a["width"]), (a["after_y"], a["after_x"]), (a["rows"], a["columns"])
    lay = planes(Window(plane, kernel, stride, dilation, before, after, out))
    # the bordered copy of one channel, and its output with the border (a vector of 16 may reach beyond)
    scratch = len(lay.phases) * lay.rows * lay.pitch + lay.slack + a["rows"] * lay.pitch + 16
    found.append(
        binding(
            "depthwise", 2.0, scratch,
            {
                "in_rows": lay.rows, "pitch": lay.pitch, "phases": len(lay.phases), "dy": lay.dy, "dx": lay.dx,
                "slack": lay.slack, "taps": len(lay.tap), "tap": lay.tap,
            },
        )
    )  # fmt: skip
    return found


def _halves(weight: Array, name: str) -> dict[str, Array]:
    return {name: weight.astype(np.float16)}


def reference_depthwise(
    inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]
) -> list[Array]:
    """Each tap times the whole strided, padded input, in float64."""
    a: dict[str, Any] = dict(attrs)
    w, bias = inputs[1].astype(np.float64), inputs[2].astype(np.float64)
    slope = inputs[3][None, :, None, None] if len(inputs) > 3 else None
    flat = inputs[0].astype(np.float64).reshape(a["images"], a["channels"], a["x_plane"])
    x = flat[..., : a["height"] * a["width"]].reshape(a["images"], a["channels"], a["height"], a["width"])
    far_y = a["stride_y"] * a["rows"] + a["dilation_y"] * a["kernel_y"]
    far_x = a["stride_x"] * a["columns"] + a["dilation_x"] * a["kernel_x"]
    x = np.pad(x, ((0, 0), (0, 0), (a["before_y"], far_y), (a["before_x"], far_x))).repeat(a["multiplier"], axis=1)
    y = np.zeros((a["images"], w.shape[0], a["rows"], a["columns"])) + bias[:, None, None]
    for k, (i, j) in enumerate(product(range(a["kernel_y"]), range(a["kernel_x"]))):
        rows = x[:, :, i * a["dilation_y"] :: a["stride_y"]][:, :, : a["rows"]]
        y += w[:, k, None, None] * rows[..., j * a["dilation_x"] :: a["stride_x"]][..., : a["columns"]]
    y = activate(y, a["act"], a["lo"], a["hi"], slope).reshape(*y.shape[:2], -1)
    y = np.pad(y, ((0, 0), (0, 0), (0, a["y_plane"] - y.shape[2])))
    return [y.reshape(outputs[0].buffer_shape).astype(np.float32)]


register(
    Contract(
        "depthwise",
        ("x", "w", "bias", "slope"),
        ("y",),
        reference_depthwise,
        bind=bind_depthwise,
        packs=True,
        pitches=lambda call: [(call.inputs[0], "x_plane"), (call.outputs[0], "y_plane")],
    ),
)
