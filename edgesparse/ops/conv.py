"""Conv: 1-D and 2-D, any stride, padding, dilation and group.

Every convolution but the depthwise one becomes ``spmm``: input channel and kernel position together
are the columns of the weight matrix, and a column is an offset into planes of activations. A 1x1
convolution reads its input as it is; any other reads a copy with its border written out, cut into
phases when strided (``planes``), so that neighbouring outputs read neighbouring floats. Where few weights of a 3x3
convolution are zero, ``winograd`` may take the place of ``spmm``; where the input has few channels, ``entry`` does on
some targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesparse.ops import entry
from edgesparse.ops.activation import activate, epilogue
from edgesparse.ops.cost import FULL_SPEED_ROWS, running, spmm_heights, spmm_us, spmv_us
from edgesparse.ops.depthwise import lower_depthwise
from edgesparse.ops.operator import Constants, Contract, Lowering, Operator, Tensors, Unsupported, register
from edgesparse.ops.packing import describe, kept_blocks, pack, pad_rows
from edgesparse.ops.planes import planes
from edgesparse.ops.window import Window, check_weights, where, window
from edgesparse.ops.winograd import bind_winograd
from edgesparse.types import DTYPES, Array, Attr, Binding, Machine, Node, OpCall, Shape, TensorSpec


def shape(node: Node) -> list[Shape]:
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None and w is not None
    check_weights(node, w.shape[1] * int(node.attrs.get("group", 1)), w.shape[0])
    out = window(node, w.shape[2:]).out
    return [(x.shape[0], w.shape[0], *out[2 - (len(x.shape) - 2) :])]


def lower(node: Node, out: Lowering) -> None:
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None and w is not None
    weight = node.constant(1)
    bias_spec = node.input(2)
    bias = node.constant(2)
    if weight is None or (bias_spec is not None and bias is None):
        raise Unsupported(
            "convolution whose weights or bias are computed at run time", where=where(node),
            hint="export the model with constant weights (eval mode, constant folding on)",
        )  # fmt: skip
    if x.dtype != "f32":
        raise Unsupported(f"convolution of {x.dtype}; f32 is supported", where=where(node), hint="cast to float32")
    win = window(node, w.shape[2:])
    groups = int(node.attrs.get("group", 1))
    act, lo, hi = epilogue(node)
    slope_at, residual_at = node.attrs.get("es_slope_input"), node.attrs.get("es_residual_input")
    slope = None if slope_at is None else node.constant(slope_at)
    residual = None if residual_at is None else node.input(residual_at)
    extra: dict[str, Attr] = {"act": act, "lo": lo, "hi": hi}
    if groups > 1 and w.shape[1] == 1 and groups == x.shape[1]:
        assert residual is None
        lower_depthwise(node, out, x, win, weight, bias, slope, extra)
    elif entry.fits(out, x, win, weight, groups, residual):
        entry.lower_entry(node, out, x, win, weight, bias, slope, extra)
    else:
        _lower_spmm(node, out, x, win, weight, bias, slope, residual, groups, extra)


def _lower_spmm(
    node: Node, out: Lowering, x: TensorSpec, win: Window, weight: Array, bias: Array | None,
    slope: Array | None, residual: TensorSpec | None, groups: int, extra: dict[str, Attr],
) -> None:  # fmt: skip
    images, channels = x.shape[:2]
    lay = planes(win)
    source = x.name
    if lay.copied:
        count = channels * len(lay.phases) * lay.rows * lay.pitch
        source = out.temporary(node, (images * count + lay.slack,))
        out.call(
            node, "planes", [x.name], [source],
            channels=images * channels, height=win.size[0], width=win.size[1],
            x_plane=win.size[0] * win.size[1], rows=lay.rows,
            pitch=lay.pitch, stride_y=win.stride[0], stride_x=win.stride[1],
            phases=len(lay.phases), dy=lay.dy, dx=lay.dx, slack=lay.slack,
        )  # fmt: skip
    spmm(
        node, out, source, node.outputs[0].name, spread_groups(weight, groups),
        bias, slope, residual.name if residual else None, images=images,
        x_plane=len(lay.phases) * lay.rows * lay.pitch, tap=lay.tap, direct=not lay.copied,
        pitch=lay.pitch, rows=win.out[0], columns=win.out[1], in_channels=channels, extra=extra,
    )  # fmt: skip


def spread_groups(weight: Array, groups: int) -> Array:
    """(O, I/g, ...) -> (O, I, ...) with zeros outside of the groups: groups are sparsity."""
    if groups == 1:
        return weight
    outs, ins = weight.shape[0] // groups, weight.shape[1]
    full = np.zeros((weight.shape[0], ins * groups, *weight.shape[2:]), weight.dtype)
    for g in range(groups):
        full[g * outs : (g + 1) * outs, g * ins : (g + 1) * ins] = weight[g * outs : (g + 1) * outs]
    return full


def spmm(
    node: Node, out: Lowering, source: str, target: str, weight: Array, bias: Array | None,
    slope: Array | None, residual: str | None, *, images: int, x_plane: int, direct: bool,
    tap: Sequence[int], pitch: int, rows: int, columns: int, in_channels: int, extra: Mapping[str, Attr],
) -> None:  # fmt: skip
    """Emit one spmm call. ``weight`` is (O, I, kernel positions...), ``tap`` floats per position.

    ``x_plane``: floats from one input channel to the next. ``direct``: the source is the activation itself.
    """
    channels = weight.shape[0]
    matrix = np.ascontiguousarray(weight.reshape(channels, -1), np.float32)
    if (in_channels * x_plane + max(tap)) * 4 >= 2**31:
        raise Unsupported("an input of more than 2 GiB per image", where=where(node), hint="use a smaller input")
    inputs = [source, out.constant(node, matrix)]
    inputs.append(out.constant(node, pad_rows(bias, 1, channels)))
    has = {"residual": residual is not None, "slope": slope is not None}
    if residual is not None:
        inputs.append(residual)
    if slope is not None:
        inputs.append(out.constant(node, np.broadcast_to(slope.reshape(-1), channels).astype(np.float32)))
    flat = pitch > columns and columns < 48  # short rows end to end; long ones one by one
    geometry = (1, (rows - 1) * pitch + columns, 0, pitch, columns) if flat else (rows, columns, pitch, 0, 0)
    if pitch == columns:  # nothing between the rows: the whole plane is one row
        geometry = (1, rows * columns, 0, 0, 0)
    out.call(
        node, "spmm", inputs, [target],
        images=images, in_channels=in_channels, x_plane=x_plane, tap=tuple(tap), direct=int(direct),
        rows=geometry[0], columns=geometry[1], x_row=geometry[2], pitch=geometry[3], valid=geometry[4],
        plane=rows * columns, y_plane=rows * columns, residual_plane=rows * columns, channels=channels, mean=0,
        has_residual=int(has["residual"]), has_slope=int(has["slope"]), **extra,
    )  # fmt: skip


def operands(call: OpCall, inputs: Sequence[Any]) -> tuple[Any, Any, Any, Any, Any]:
    """(x, weight, bias, residual or None, slope or None) of an spmm or spmv call."""
    rest = list(inputs[3:])
    residual = rest.pop(0) if call.attrs["has_residual"] else None
    slope = rest.pop(0) if call.attrs["has_slope"] else None
    return inputs[0], inputs[1], inputs[2], residual, slope


def pitches(call: OpCall) -> list[tuple[str, str]]:
    x, _, _, residual, _ = operands(call, call.inputs)
    found = [] if call.attrs["mean"] else [(call.outputs[0], "y_plane")]
    if call.attrs["direct"]:
        found.append((x, "x_plane"))
    return found if residual is None else [*found, (residual, "residual_plane")]


def offsets(attrs: Mapping[str, Any], size: int = 4) -> NDArray[np.int32]:
    """Bytes from the first element of x, of ``size`` bytes, to each (input channel, kernel position)."""
    elements = np.add.outer(np.arange(attrs["in_channels"]) * attrs["x_plane"], np.asarray(attrs["tap"]))
    found: NDArray[np.int32] = (elements.reshape(-1) * size).astype(np.int32)
    return found


SPMV_HEIGHTS = (1, 2, 4, 8, 16)
MEANS = 32  # planes that are held at a time, where only their means are written: ES_MEANS in spmm_images.h
WIDEST = 16  # floats of a vector


def bind_spmm(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    """One binding per block height, fastest first. One pixel per channel goes to spmv, which has no tile.

    Only spmm can write means instead of planes (``mean``, see `edgesparse.pooled`).
    """
    weight = constants[operands(call, call.inputs)[1]]
    channels, columns = weight.shape
    attrs: dict[str, Any] = dict(call.attrs)
    dtype = tensors[call.inputs[0]].dtype
    machine, size = running(machine, dtype), DTYPES[dtype].itemsize
    single = attrs["plane"] == 1
    pattern, zeros = describe(weight, len(attrs["tap"]))
    pixels = attrs["plane"] * attrs["images"]
    written = 1 if attrs["mean"] else attrs["plane"]
    traffic = size * attrs["images"] * (attrs["in_channels"] * attrs["x_plane"] + channels * written)

    def time_us(height: int, entries: int) -> float:
        blocks = -(-channels // height)
        if single:
            return spmv_us(machine, height, entries, blocks, images=attrs["images"], size=size)
        return spmm_us(machine, height, entries, blocks, pixels, traffic + entries * (size * height + 4))

    heights = [h for h in (SPMV_HEIGHTS if single else spmm_heights(machine.isa)) if h <= 4 or h <= channels]
    skipping_us = min(time_us(h, -(-channels // h) * columns) for h in heights)
    x, _, bias, residual, slope = operands(call, call.inputs)
    names = {"x": x, "bias": bias, "residual": residual, "slope": slope, "y": call.outputs[0]}
    found = [
        replace(b, pattern=pattern, zeros=zeros, reason=f"{b.reason}; {_worth_pruning(b.predicted_us, skipping_us)}")
        for b in (bind_winograd(call, weight, names, machine) if dtype == "f32" else [])
    ]
    dense_us = min([skipping_us, *(b.predicted_us for b in found)])
    note = "; dense would be Winograd" if dense_us < skipping_us else ""
    if attrs["mean"]:
        note += f"; averages its planes for '{call.absorbed}', which has no call of its own"
        found = []
    for height in heights:
        kept = int(kept_blocks(weight, height).sum())
        share = kept / max(-(-channels // height) * columns, 1)
        found.append(
            Binding(
                f"{'spmv' if single else 'spmm'}_{dtype}", _arguments(call, height),
                pack=partial(_packed, call, constants, height, dtype), tiles={"MR": height},
                scratch_bytes=MEANS * _means_plane(attrs) * size if attrs["mean"] else 0,
                predicted_us=time_us(height, kept), pattern=pattern, zeros=zeros,
                macs=kept * height * pixels,
                reason=f"blocks of {height} output channels, {share:.0%} of them kept{note}",
            )
        )  # fmt: skip
    timed = (replace(b, dense_us=dense_us, skipping_us=skipping_us) for b in found)
    return sorted(timed, key=lambda b: b.predicted_us)


def _worth_pruning(us: float, skipping_us: float) -> str:
    """From which share of zeros on skipping them takes less than ``us``, if it takes ``skipping_us`` without zeros."""
    return f"zeros in blocks of {FULL_SPEED_ROWS} output channels pay from {max(1 - us / skipping_us, 0):.0%} on"


def _means_plane(attrs: Mapping[str, Any]) -> int:
    """Elements from one plane to the next where only means are written: whole vectors, and one more."""
    return (-(-int(attrs["plane"]) // WIDEST) + 1) * WIDEST


def _names(call: OpCall, height: int) -> dict[str, str]:
    return {key: f"{call.name}.{key}{height}" for key in ("w", "offset", "start", "bias", "slope")}


def _arguments(call: OpCall, height: int) -> dict[str, str | int | float | tuple[int, ...] | None]:
    x, _, _, residual, slope = operands(call, call.inputs)
    attrs: dict[str, Any] = dict(call.attrs)
    if attrs["mean"]:
        attrs["y_plane"] = _means_plane(attrs)
    ends = [attrs["x_plane"], attrs["y_plane"], *([attrs["residual_plane"]] if residual else [])]
    names = _names(call, height)
    return {
        **attrs, **names, "slope": names["slope"] if slope else None, "x": x, "y": call.outputs[0],
        "residual": residual, "begin": 0, "end": -(-attrs["channels"] // height),
        "x_image": attrs["in_channels"] * attrs["x_plane"],
        "spare": min(ends) - attrs["plane"] if attrs["direct"] and attrs["rows"] == 1 and not attrs["pitch"] else 0,
    }  # fmt: skip


def _packed(call: OpCall, constants: Mapping[str, Array], height: int, dtype: str) -> dict[str, Array]:
    _, weight, bias, _, slope = operands(call, call.inputs)
    offset, names = offsets(call.attrs, DTYPES[dtype].itemsize), _names(call, height)
    packed = pack(constants[weight], offset, height)
    channels = constants[weight].shape[0]
    brought: dict[str, Array] = {
        names["w"]: packed.values.astype(DTYPES[dtype]), names["offset"]: packed.offset, names["start"]: packed.start,
        names["bias"]: pad_rows(constants[bias], height, channels),
    }  # fmt: skip
    if slope is not None:
        brought[names["slope"]] = pad_rows(constants[slope], height, channels)
    return brought


def reference_spmm(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    """y[n, r, p] = act(bias[n] + sum_j w[n, j] x[offset_j + r x_row + p] + residual), in float64; or its means."""
    call = OpCall("", "spmm", (), (), attrs)
    x, weight, bias, residual, slope = operands(call, inputs)
    a: dict[str, Any] = dict(attrs)
    flat = x.reshape(-1).astype(np.float64)
    pixel = (np.arange(a["rows"])[:, None] * a["x_row"] + np.arange(a["columns"])[None, :]).reshape(-1)
    if a["pitch"] > a["valid"]:
        pixel = pixel[pixel % a["pitch"] < a["valid"]]
    images = []
    for image in range(a["images"]):
        rows = flat[image * a["in_channels"] * a["x_plane"] + (offsets(a) // 4)[:, None] + pixel[None, :]]
        images.append(weight.astype(np.float64) @ rows + bias.astype(np.float64)[:, None])
    y = np.stack(images)
    if residual is not None:
        y = y + residual.reshape(*y.shape[:2], -1)[..., : a["plane"]]
    slope = None if slope is None else slope[:, None]
    y = activate(y, a["act"], a["lo"], a["hi"], slope)
    if a["mean"]:
        return [y.mean(axis=2).reshape(outputs[0].shape).astype(np.float32)]
    y = np.pad(y, ((0, 0), (0, 0), (0, a["y_plane"] - a["plane"])))
    return [y.reshape(outputs[0].buffer_shape).astype(np.float32)]


register(
    Contract(
        "spmm",
        ("x", "w", "bias", "residual", "slope"),
        ("y",),
        reference_spmm,
        bind=bind_spmm,
        packs=True,
        pitches=pitches,
    ),
    Operator(
        "Conv",
        shape,
        lower,
        "1-D and 2-D, f32, constant weights",
        kernels=("spmm", "spmv", "winograd", "depthwise", "depthwise_square", "entry", "planes"),
    ),  # fmt: skip
)
