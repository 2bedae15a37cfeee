"""Linear layers of decoders, with weights by input (columns), by output (rows) or interleaved (dense).

No ONNX operator: see `decoder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesparse.decoder import pack
from edgesparse.ops.operator import Constants, Contract, Tensors, register
from edgesparse.ops.select import GROUP
from edgesparse.types import Array, Attr, Binding, Machine, OpCall, TensorSpec

INPUTS_F32 = ("w", "bias", "index", "value")
INPUTS_QC8 = ("w", "bias", "index", "q", "scale", "sum")
SIGNED = ("neon", "neon_fp16", "neon_dotprod", "simd128", "relaxed")
"""Instruction sets whose kernels read signed bytes."""


def offset_for(isa: str) -> int:
    return 0 if isa in SIGNED else 128


def layout(call: OpCall, tensors: Tensors) -> str:
    """f32, f16 or qc8, by the types of the weights and of what they are multiplied by."""
    return "qc8" if tensors[call.inputs[3]].dtype == "i8" else tensors[call.inputs[0]].dtype


def bind(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    """The weights are (outputs, inputs) and packed here; an empty bias or index stands for none."""
    kind, weight = layout(call, tensors), constants[call.inputs[0]]
    by_row = call.op.startswith("rows")
    tile, offset = int(call.attrs.get("tile", 0)), offset_for(machine.isa)  # type: ignore[arg-type]
    packed: dict[str, Array]
    if kind == "qc8":
        if call.op.startswith("dense"):
            w, scale = pack.dense_qc8(weight, offset)
        else:
            w, scale = pack.rows_qc8(weight, offset) if by_row else pack.columns_qc8(weight, tile, offset)
        packed = {"packed": w, "wscale": scale}
    elif by_row:
        packed = {"packed": pack.rows_f16(weight) if kind == "f16" else pack.rows_f32(weight)}
    else:
        packed = {"packed": pack.columns_f16(weight, tile) if kind == "f16" else pack.columns_f32(weight, tile)}
    names = INPUTS_QC8 if kind == "qc8" else INPUTS_F32
    given = {name: at if tensors[at].size else None for name, at in zip(names, call.inputs, strict=True)}
    given["x"] = given.get("value")
    arguments = {**given, **call.attrs, "w": "packed", "wscale": "wscale", "y": call.outputs[0]}
    return [Binding(f"{call.op}_{kind}", arguments, packed)]


def decoded(inputs: Sequence[Array], attrs: Mapping[str, Any]) -> tuple[Array, Array, Array]:
    """(weights, bias, activations) in float64; activations: (tokens, entries)."""
    weight = inputs[0].astype(np.float64)
    bias = inputs[1].astype(np.float64) if inputs[1].size else np.zeros(len(weight))
    tokens = int(attrs.get("tokens", 1))
    x = inputs[3].astype(np.float64).reshape(tokens, -1)
    if inputs[3].dtype == np.int8:
        q, scale = pack.quantise_rows(inputs[0])
        weight = q.astype(np.float64) * scale.astype(np.float64)[:, None]
        scales = inputs[4].astype(np.float64).reshape(tokens, -1)
        x = (x.reshape(tokens, -1, GROUP) * scales[:, :, None]).reshape(tokens, -1)
    elif inputs[0].dtype == np.float16:
        weight = pack.halves(inputs[0]).astype(np.float64)
    return weight, bias, x


def reference_columns(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    weight, bias, x = decoded(inputs, attrs)
    count = int(attrs["count"])  # type: ignore[arg-type]
    active = inputs[2][:count] if inputs[2].size else np.arange(count)
    return [(bias + weight[:, active] @ x[0, :count]).astype(np.float32)]


def reference_dense(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    weight, bias, x = decoded(inputs, attrs)
    return [(bias + weight @ x[0, : weight.shape[1]]).astype(np.float32)]


def reference_rows(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    """No number where nothing is written."""
    weight, bias, x = decoded(inputs, attrs)
    active = inputs[2] if inputs[2].size else np.arange(len(weight))
    y = np.full(outputs[0].shape, np.nan, np.float32)
    y[active] = weight[active] @ x[0, : weight.shape[1]] + bias[active]
    return [y]


def reference_many(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    weight, bias, x = decoded(inputs, attrs)
    y = np.full(outputs[0].shape, np.nan, np.float32)
    y[:, : len(weight)] = x[:, : weight.shape[1]] @ weight.T + bias
    return [y]


def _tiles(attrs: Mapping[str, Any]) -> int:
    return pack.tiles(attrs["outputs"], attrs["tile"])


def _panels(attrs: Mapping[str, Any]) -> int:
    return pack.tiles(attrs["outputs"], pack.PANEL)


def _entries(attrs: Mapping[str, Any]) -> int:
    return int(attrs["entries"])


register(
    Contract("columns", INPUTS_F32, ("y",), reference_columns, bind=bind, packs=True, items=_tiles),
    Contract("columns_many", INPUTS_F32, ("y",), reference_many, bind=bind, packs=True, items=_tiles),
    Contract("rows", INPUTS_F32, ("y",), reference_rows, bind=bind, packs=True, items=_entries),
    Contract("rows_many", INPUTS_F32, ("y",), reference_many, bind=bind, packs=True, items=_entries),
    Contract("dense", INPUTS_QC8, ("y",), reference_dense, bind=bind, packs=True, items=_panels),
    Contract("dense_many", INPUTS_QC8, ("y",), reference_many, bind=bind, packs=True, items=_panels),
)
