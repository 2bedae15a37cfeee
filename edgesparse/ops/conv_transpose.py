"""ConvTranspose: 1-D and 2-D, any stride, padding, output padding, dilation and group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesparse.ops.activation import activate, epilogue
from edgesparse.ops.arguments import choice, where
from edgesparse.ops.operator import Constants, Contract, Lowering, Operator, Tensors, Unsupported, register
from edgesparse.ops.packing import pad_rows
from edgesparse.ops.window import check_weights
from edgesparse.types import Array, Attr, Binding, Machine, Node, OpCall, Shape, TensorSpec


def geometry(node: Node) -> dict[str, list[int]]:
    """strides, dilations, kernel, begin (padding before) and out (spatial output), one per dimension."""
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None and w is not None
    rank = len(x.shape) - 2
    if rank not in (1, 2):
        raise Unsupported(
            f"{rank}-D transposed convolution; 1-D and 2-D are supported", where=where(node),
            hint="split the convolution over its third dimension before exporting",
        )  # fmt: skip
    kernel = list(w.shape[2:])
    strides = list(node.attrs.get("strides", [1] * rank))
    dilations = list(node.attrs.get("dilations", [1] * rank))
    extra = list(node.attrs.get("output_padding", [0] * rank))
    pads = list(node.attrs.get("pads", [0] * (2 * rank)))
    auto = choice(node, "auto_pad", "NOTSET", ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"))
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    full = [s * (n - 1) + e + r for s, n, e, r in zip(strides, x.shape[2:], extra, reach, strict=True)]
    wanted = node.attrs.get("output_shape")
    if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
    if wanted is not None:
        out = list(wanted)[-rank:]
        total = [max(0, f - o) for f, o in zip(full, out, strict=True)]
        # SAME_UPPER puts the odd one at the end; the ONNX default for output_shape at the beginning.
        begin = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
    else:
        if auto == "VALID":
            pads = [0] * (2 * rank)
        begin = pads[:rank]
        out = [f - pads[i] - pads[rank + i] for i, f in enumerate(full)]
    return {"kernel": kernel, "strides": strides, "dilations": dilations, "begin": begin, "out": out}


def shape(node: Node) -> list[Shape]:
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None and w is not None
    groups = int(node.attrs.get("group", 1))
    check_weights(node, w.shape[0], w.shape[1] * groups)
    return [(x.shape[0], w.shape[1] * groups, *geometry(node)["out"])]


def lower(node: Node, out: Lowering) -> None:
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None and w is not None
    weight, bias = node.constant(1), node.constant(2)
    if weight is None or (node.input(2) is not None and bias is None) or x.dtype != "f32":
        raise Unsupported(
            "transposed convolution needs f32 input and constant weights", where=where(node),
            hint="export the model in eval mode with constant folding on",
        )  # fmt: skip
    geo = {k: ([1 if k != "begin" else 0] * (2 - len(v)) + v) for k, v in geometry(node).items()}
    groups = int(node.attrs.get("group", 1))
    channels = w.shape[1] * groups
    act, lo, hi = epilogue(node)
    inputs = [
        x.name,
        out.constant(node, np.ascontiguousarray(weight, np.float32)),
        out.constant(node, pad_rows(bias, 1, channels)),
    ]
    if "es_slope_input" in node.attrs:
        slope = node.constant(int(node.attrs["es_slope_input"]))
        assert slope is not None
        inputs.append(out.constant(node, np.broadcast_to(slope.reshape(-1), channels).astype(np.float32)))
    size = (1, *x.shape[2:])[-2:]
    out.call(
        node, "conv_transpose", inputs, [node.outputs[0].name],
        images=x.shape[0], in_channels=x.shape[1], height=size[0], width=size[1], out_channels=channels,
        rows=geo["out"][0], columns=geo["out"][1], groups=groups, kernel_y=geo["kernel"][0],
        kernel_x=geo["kernel"][1], stride_y=geo["strides"][0], stride_x=geo["strides"][1],
        dilation_y=geo["dilations"][0], dilation_x=geo["dilations"][1], top=geo["begin"][0],
        left=geo["begin"][1], act=act, lo=lo, hi=hi,
    )  # fmt: skip


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    a: dict[str, Any] = dict(attrs)
    x = inputs[0].reshape(a["images"], a["in_channels"], a["height"], a["width"]).astype(np.float64)
    ins, outs = a["in_channels"] // a["groups"], a["out_channels"] // a["groups"]
    w = inputs[1].reshape(a["in_channels"], outs, a["kernel_y"], a["kernel_x"]).astype(np.float64)
    y = np.zeros((a["images"], a["out_channels"], a["rows"], a["columns"]))
    y += inputs[2].reshape(1, -1, 1, 1)
    for ky, kx, iy, ix in np.ndindex(a["kernel_y"], a["kernel_x"], a["height"], a["width"]):
        oy = iy * a["stride_y"] + ky * a["dilation_y"] - a["top"]
        ox = ix * a["stride_x"] + kx * a["dilation_x"] - a["left"]
        if not (0 <= oy < a["rows"] and 0 <= ox < a["columns"]):
            continue
        for g in range(a["groups"]):
            part = x[:, g * ins : (g + 1) * ins, iy, ix] @ w[g * ins : (g + 1) * ins, :, ky, kx]
            y[:, g * outs : (g + 1) * outs, oy, ox] += part
    slope = inputs[3].reshape(1, -1, 1, 1) if len(inputs) > 3 else None
    return [activate(y, a["act"], a["lo"], a["hi"], slope).reshape(outputs[0].shape).astype(np.float32)]


def bind(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    slope = call.inputs[3] if len(call.inputs) > 3 else None
    named = dict(zip(("x", "w", "bias"), call.inputs, strict=False))
    a: dict[str, Any] = dict(call.attrs)
    macs = int(constants[call.inputs[1]].size) * a["images"] * a["height"] * a["width"]
    return [
        Binding(
            "conv_transpose_f32", {**named, "slope": slope, "y": call.outputs[0], **call.attrs},
            pattern="dense", macs=macs, reason="transposed convolutions have a dense kernel only",
        )
    ]  # fmt: skip


register(
    Contract(
        "conv_transpose",
        ("x", "w", "bias", "slope"),
        ("y",),
        reference,
        bind=bind,
        items=lambda a: a["images"] * a["out_channels"],
    ),
    Operator("ConvTranspose", shape, lower, "1-D and 2-D, f32, constant weights", kernels=("conv_transpose",)),
)
