"""Linear layers of decoders with weights of 4 bits, and what chooses and quantises their inputs. No ONNX operator.

The weights of every contract here are integers 0..15, a byte each, with scales; ``bind`` packs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from edgesparse.decoder import pack_qb4 as pack
from edgesparse.decoder.pack import interleaved
from edgesparse.ops.columns import offset_for
from edgesparse.ops.operator import Constants, Contract, Tensors, register
from edgesparse.types import Array, Attr, Binding, Machine, OpCall, TensorSpec

COUNTED = ("w", "wscale", "bias", "q", "scale", "sum")
"""w: (outputs, inputs) bytes, wscale: (outputs, blocks) halves; an empty bias or index stands for none."""
LISTED = (*COUNTED, "index", "start")
BLOCKS = (*COUNTED[:-1], "offset", "column", "start")
"""w: (kept blocks, 4, 16), wscale: (kept blocks, 4)."""
PACKERS = {"dense": pack.dense_qb4, "row": pack.dense_qb4, "columns": pack.columns_qb4, "rows": pack.rows_qb4}
SELECTED = ("x", "threshold", "index", "q", "scale", "sum", "start", "count")


def bind(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine, names: Sequence[str]) -> list[Binding]:
    given: dict[str, Any] = {n: at if tensors[at].size else None for n, at in zip(names, call.inputs, strict=True)}
    w, wscale = constants[call.inputs[0]], constants[call.inputs[1]]
    layout = call.op.split("_", 1)[0]
    packed: dict[str, Array]
    if layout == "blocks":
        packed = {"packed": pack.blocks_w(w), "wscale": wscale.reshape(-1)}
        packed["column"] = constants[call.inputs[names.index("column")]].astype(np.uint16).view(np.uint8)
        given["column"] = "column"
    else:
        nibbles = pack.Nibbles(w, wscale, int(call.attrs["block"]))  # type: ignore[arg-type]
        made = PACKERS[layout](nibbles)
        packed = {"packed": made.w, "wscale": made.wscale}
    arguments = {**given, **call.attrs, "w": "packed", "wscale": "wscale", "y": call.outputs[0]}
    return [Binding(call.op, arguments, packed)]


def bind_select(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    names = (*call.inputs, *call.outputs)
    return [Binding(call.op, {**dict(zip(SELECTED, names, strict=True)), **call.attrs})]


def weights(inputs: Sequence[Array], attrs: Mapping[str, Any]) -> Array:
    """(outputs, inputs), float64."""
    wide = np.repeat(inputs[1].astype(np.float64), attrs["block"], axis=1)[:, : inputs[0].shape[1]]
    return np.asarray((inputs[0].astype(np.float64) - 8) * wide)


def biased(y: Array, inputs: Sequence[Array]) -> list[Array]:
    return [(y + inputs[2].astype(np.float64) if inputs[2].size else y).astype(np.float32)]


def activations(inputs: Sequence[Array], attrs: Mapping[str, Any], group: int) -> Array:
    """(tokens, inputs), float64."""
    tokens = int(attrs.get("tokens", 1))
    q = inputs[3].astype(np.float64).reshape(tokens, -1)
    wide = np.repeat(inputs[4].astype(np.float64).reshape(tokens, -1), group, axis=1)[:, : q.shape[1]]
    return q[:, : wide.shape[1]] * wide


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    w = weights(inputs, attrs)
    x = activations(inputs, attrs, pack.GROUP)[:, : w.shape[1]]
    return biased(np.squeeze(x @ w.T, 0) if "tokens" not in attrs else x @ w.T, inputs)


def reference_columns(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    index, start = inputs[6:]
    if not index.size:
        return reference(inputs, attrs, outputs)
    x = inputs[3][: start[-1]].astype(np.float64) * np.repeat(inputs[4].astype(np.float64), np.diff(start))
    return biased(weights(inputs, attrs)[:, index[: start[-1]]] @ x, inputs)


def reference_rows(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    """Outputs that are not asked for keep the bytes 0xff."""
    (y,) = reference(inputs, attrs, outputs)
    if not inputs[6].size:
        return [y]
    untouched = np.frombuffer(b"\xff" * outputs[0].bytes, np.float32).copy()
    untouched[inputs[6]] = y[inputs[6]]
    return [untouched]


def reference_blocks(inputs: Sequence[Array], attrs: Mapping[str, Any], outputs: Sequence[TensorSpec]) -> list[Array]:
    u, wscale, column, start = inputs[0].astype(np.float64), inputs[1].astype(np.float64), *inputs[6:]
    x = activations(inputs, attrs, 16)
    x = np.pad(x, ((0, 0), (0, -x.shape[1] % 16))).reshape(len(x), -1, 16)
    terms = np.einsum("boi,tbi->tbo", (u - 8) * wscale[:, :, None], x[:, column])
    y = np.stack([terms[:, a:b].sum(axis=1) for a, b in pairwise(start)], 1)
    y = y.reshape(len(x), -1)[:, : attrs["outputs"]]
    return biased(np.squeeze(y, 0) if "tokens" not in attrs else y, inputs)


def reference_select(inputs: Sequence[Array], attrs: Mapping[str, Any], outputs: Sequence[TensorSpec]) -> list[Array]:
    """Room that is not used keeps the bytes 0xff."""
    x, threshold = inputs
    found = pack.active(x, threshold if attrs["per_channel"] else threshold[:1], attrs["block"])
    room: list[Array] = [np.full(outputs[i].shape, -1, found[i].dtype) for i in (0, 1)]
    for i in (0, 1):
        room[i][: found[i].size] = found[i]
    count = (np.abs(x) > (threshold if attrs["per_channel"] else threshold[0])).sum()
    return [*room, *found[2:], np.array([count], np.int32)]


def reference_quantise16(
    inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]
) -> list[Array]:
    q, scale, total = pack.grouped(inputs[0], 16)
    return [q, scale, pack.OFFSET_FACTOR * total]


def reference_row(inputs: Sequence[Array], attrs: Mapping[str, Any], outputs: Sequence[TensorSpec]) -> list[Array]:
    return [weights(inputs, attrs)[attrs["row"]].astype(np.float32)]


def reference_row_f16(inputs: Sequence[Array], attrs: Mapping[str, Any], outputs: Sequence[TensorSpec]) -> list[Array]:
    return [inputs[0][attrs["row"]].astype(np.float32)]


def reference_row_qc8(inputs: Sequence[Array], attrs: Mapping[str, Any], outputs: Sequence[TensorSpec]) -> list[Array]:
    return [inputs[0][attrs["row"]].astype(np.float32) * inputs[1][attrs["row"]]]


def bind_row(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    """Halves as `rows` reads them, bytes as `dense` does: with 128 more on x86."""
    packed: dict[str, Array] = {"packed": constants[call.inputs[0]].view(np.uint8)}
    if call.op == "row_qc8":
        packed = {
            "packed": interleaved(constants[call.inputs[0]], offset_for(machine.isa)),
            "wscale": constants[call.inputs[1]],
        }
    return [Binding(call.op, {**call.attrs, "w": "packed", "wscale": "wscale", "y": call.outputs[0]}, packed)]


def _panels(attrs: Mapping[str, Any]) -> int:
    return -(-int(attrs["outputs"]) // pack.PANEL)


def _strips(attrs: Mapping[str, Any]) -> int:
    return -(-int(attrs["outputs"]) // pack.STRIP)


def _quartets(attrs: Mapping[str, Any]) -> int:
    return -(-int(attrs["outputs"]) // 4)


for _op, _names, _reference, _items in (
    ("dense", COUNTED, reference, _panels),
    ("columns", LISTED, reference_columns, _strips),
    ("rows", (*COUNTED, "index"), reference_rows, None),
    ("blocks", BLOCKS, reference_blocks, _quartets),
):
    register(Contract(f"{_op}_qb4", _names, ("y",), _reference, bind=partial(bind, names=_names), items=_items))
    _many = COUNTED if _op in ("columns", "rows") else _names
    _all = _reference if _op == "blocks" else reference
    register(Contract(f"{_op}_many_qb4", _many, ("y",), _all, bind=partial(bind, names=_many), items=_items))
register(
    Contract("row_f16", ("w",), ("y",), reference_row_f16, bind=bind_row),
    Contract("row_qc8", ("w", "wscale"), ("y",), reference_row_qc8, bind=bind_row),
    Contract("row_qb4", ("w", "wscale"), ("y",), reference_row, bind=partial(bind, names=("w", "wscale"))),
    Contract("select_qb4", SELECTED[:2], SELECTED[2:], reference_select, bind=bind_select),
    Contract("quantise16", ("value",), ("q", "scale", "offset"), reference_quantise16),
)
