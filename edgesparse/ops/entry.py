"""The convolution that takes the input of a network: few channels, read where they are, without a bordered copy.

Output channels are in the lanes of vectors (kernels_common/entry_f32.c), so that any layout of the input does: channels
first or last. Zeros among the weights are multiplied like all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from edgesparse.ops.activation import activate
from edgesparse.ops.copy import positions
from edgesparse.ops.cost import entry_us
from edgesparse.ops.operator import Constants, Contract, Lowering, Tensors, register
from edgesparse.ops.packing import describe, pad_rows
from edgesparse.ops.window import Window
from edgesparse.types import Array, Attr, Binding, Machine, Node, OpCall, TensorSpec

MOST_CHANNELS = 4
BLOCK, GROUP, NP = 16, 112, 12  # entry_f32.c: channels of a block, pixels that are stored together, of a tile at most
SHORT = 48
"""Shorter rows of outputs leave vectors of pixels half empty."""
MOST_ZEROS = 0.5  # beyond, skipping them saves more than the copy costs
FULL_BLOCKS = 0.8  # the share of channels in all blocks that must be there
STRIDED = frozenset({"avx512", "avx2", "sse2"})
TURNED = STRIDED | {"simd128", "relaxed"}
SHORT_ROWS = TURNED | {"neon"}
"""Where it was measured to be faster than a bordered copy and `spmm` (on arm64: to execute fewer instructions): with a
stride, where channels come last, for short rows of outputs."""
ALWAYS = frozenset({"scalar"})
"""No target has it; tests lower for it."""


def fits(out: Lowering, x: TensorSpec, win: Window, weight: Array, groups: int, residual: TensorSpec | None) -> bool:
    """Whether a convolution is one for `lower_entry` on the target of ``out``."""
    able = (
        x.shape[1] <= MOST_CHANNELS and groups == 1 and residual is None
        and win.kernel != (1, 1) and win.dilation == (1, 1) and min(win.before) >= 0 and min(win.out) > 0
        and prod(x.shape[1:]) * 4 < 2**31  # offsets have 32 bits
    )  # fmt: skip
    turned = any(call.op == "copy" and x.name in call.outputs for call in out.calls)  # and will not be: see `direct`
    return able and len(out.isas) > 0 and all(isa in ALWAYS or _pays(isa, win, weight, turned) for isa in out.isas)


def _pays(isa: str, win: Window, weight: Array, turned: bool) -> bool:
    outputs = weight.shape[0]
    if outputs < FULL_BLOCKS * -(-outputs // BLOCK) * BLOCK:
        return False
    if int(np.count_nonzero(weight)) <= (1 - MOST_ZEROS) * weight.size:
        return False
    if win.out[1] < SHORT:
        return isa in SHORT_ROWS
    return isa in TURNED if turned else isa in STRIDED and win.stride != (1, 1)


def lower_entry(
    node: Node, out: Lowering, x: TensorSpec, win: Window, weight: Array,
    bias: Array | None, slope: Array | None, extra: Mapping[str, Attr],
) -> None:  # fmt: skip
    """One ``entry`` call. ``weight`` is (O, I, *kernel); ``slope`` one value or one per output channel."""
    images, in_channels = x.shape[:2]
    channels, plane = weight.shape[0], prod(win.out)
    full = weight.reshape(channels, in_channels, *win.kernel)
    inputs = [x.name, out.constant(node, np.ascontiguousarray(full, np.float32))]
    inputs.append(out.constant(node, pad_rows(bias, 1, channels)))
    if slope is not None:
        inputs.append(out.constant(node, np.broadcast_to(slope.reshape(-1), channels).astype(np.float32)))
    out.call(
        node, "entry", inputs, [node.outputs[0].name],
        images=images, in_channels=in_channels, channels=channels, height=win.size[0], width=win.size[1],
        x_image=in_channels * prod(win.size), x_channel=prod(win.size), x_row=win.size[1], x_pixel=1,
        rows=win.out[0], columns=win.out[1], y_plane=plane, kernel_y=win.kernel[0], kernel_x=win.kernel[1],
        stride_y=win.stride[0], stride_x=win.stride[1], top=win.before[0], left=win.before[1], **extra,
    )  # fmt: skip


def bind_entry(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    a: dict[str, Any] = dict(call.attrs)
    if tensors[call.inputs[0]].dtype != "f32":
        return []
    weight = constants[call.inputs[1]]
    blocks, plane, taps = -(-a["channels"] // BLOCK), a["rows"] * a["columns"], prod(weight.shape[1:])
    pixels = a["images"] * plane
    traffic = 4 * (a["images"] * a["in_channels"] * a["height"] * a["width"] + a["channels"] * pixels + weight.size)
    us = entry_us(machine, taps, blocks, pixels, traffic)
    names = {key: f"{call.name}.{key}" for key in ("w", "bias")}
    pattern, zeros = describe(weight.reshape(a["channels"], -1))
    return [
        Binding(
            "entry_f32",
            {
                **a, **names, "x": call.inputs[0], "slope": call.inputs[3] if len(call.inputs) > 3 else None,
                "y": call.outputs[0], "y_image": a["channels"] * a["y_plane"], "padding": a["y_plane"] - plane,
                "begin": 0, "end": blocks,
            },
            pack=partial(_packed, weight, constants[call.inputs[2]], names), scratch_bytes=scratch_bytes(a),
            predicted_us=us, dense_us=us, pattern=pattern, zeros=zeros, macs=pixels * taps * blocks * BLOCK,
            reason="reads its input directly, without a bordered copy; multiplies zeros, too",
        )
    ]  # fmt: skip


def scratch_bytes(a: Mapping[str, Any]) -> int:
    """As entry_f32.c lays it out: two offsets a tap, and for each row of a group its columns at both borders."""
    columns = a["columns"]
    inner = min(-(-a["left"] // a["stride_x"]), columns)
    outer = max(min((a["width"] - a["kernel_x"] + a["left"]) // a["stride_x"] + 1, columns), 0)
    edge = max(inner, columns - outer)
    pixels = min(edge + NP - 1, columns) if edge else 0
    lines = max(GROUP // max(columns, 1), 1)
    inputs = a["kernel_y"] * a["in_channels"]
    pitch = (pixels - 1) * a["stride_x"] + a["kernel_x"] if pixels else 0
    return int(4 * inputs * (2 * a["kernel_x"] + lines * 2 * pitch))


def _packed(weight: Array, bias: Array, names: Mapping[str, str]) -> dict[str, Array]:
    """Weights as (blocks, kernel_y, in_channels, kernel_x, BLOCK)."""
    channels, in_channels, height, width = weight.shape
    padded = np.zeros((-(-channels // BLOCK) * BLOCK, in_channels, height, width), np.float32)
    padded[:channels] = weight
    ordered = padded.reshape(-1, BLOCK, in_channels, height, width).transpose(0, 3, 2, 4, 1)
    return {names["w"]: np.ascontiguousarray(ordered), names["bias"]: pad_rows(bias, BLOCK, channels)}


def reference_entry(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    """Each tap times the whole strided, padded input, in float64."""
    a: dict[str, Any] = dict(attrs)
    x, w, bias = (v.astype(np.float64) for v in inputs[:3])
    slope = inputs[3][None, :, None, None] if len(inputs) > 3 else None
    shape = (a["images"], a["in_channels"], a["height"], a["width"])
    x = x.reshape(-1)[positions(shape, [a[f"x_{key}"] for key in ("image", "channel", "row", "pixel")], 0)]
    far_y, far_x = a["stride_y"] * a["rows"] + a["kernel_y"], a["stride_x"] * a["columns"] + a["kernel_x"]
    x = np.pad(
        x.reshape(shape)[:, :, max(-a["top"], 0) :], ((0, 0), (0, 0), (max(a["top"], 0), far_y), (a["left"], far_x))
    )
    y = np.zeros((a["images"], a["channels"], a["rows"], a["columns"])) + bias[:, None, None]
    for i in range(a["kernel_y"]):
        for j in range(a["kernel_x"]):
            taken = x[:, :, i :: a["stride_y"], j :: a["stride_x"]][:, :, : a["rows"], : a["columns"]]
            y += np.einsum("nc,ichw->inhw", w[:, :, i, j], taken)
    y = activate(y, a["act"], a["lo"], a["hi"], slope).reshape(*y.shape[:2], -1)
    y = np.pad(y, ((0, 0), (0, 0), (0, a["y_plane"] - y.shape[2])))
    return [y.reshape(outputs[0].buffer_shape).astype(np.float32)]


register(
    Contract(
        "entry",
        ("x", "w", "bias", "slope"),
        ("y",),
        reference_entry,
        bind=bind_entry,
        packs=True,
        pitches=lambda call: [(call.outputs[0], "y_plane")],
    ),
)
