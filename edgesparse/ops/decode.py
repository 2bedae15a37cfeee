"""What a decoder computes for one token beside its linear layers. No ONNX operator: see `decoder`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesparse.ops.activation import activate
from edgesparse.ops.operator import Constants, Contract, Tensors, register, spans
from edgesparse.types import Array, Binding, Machine, OpCall, TensorSpec

HEADS_AT_ONCE = 4
"""Heads that share keys are computed together, so many at most: their scores are held at the same time."""


def reference_rope(inputs: Sequence[Array], attrs: Mapping[str, Any], outputs: Sequence[TensorSpec]) -> list[Array]:
    x, cosine, sine = (i.astype(np.float64) for i in inputs)
    y, half = x.copy(), attrs["rotary"] // 2
    pair = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
    if not attrs["interleaved"]:
        pair = slice(0, half), slice(half, 2 * half)
    a, b = x[:, pair[0]], x[:, pair[1]]
    y[:, pair[0]], y[:, pair[1]] = a * cosine - b * sine, b * cosine + a * sine
    return [y.astype(np.float32)]


def reference_gated(inputs: Sequence[Array], attrs: Mapping[str, Any], outputs: Sequence[TensorSpec]) -> list[Array]:
    gate, up, index = inputs
    y = activate(gate.astype(np.float64), attrs["act"], 0.0, 0.0)
    if up.size:
        y = y * up.astype(np.float64)[index if index.size else slice(None)]
    return [y.astype(np.float32)]


def reference_attend(inputs: Sequence[Array], attrs: Mapping[str, Any], outputs: Sequence[TensorSpec]) -> list[Array]:
    q, k, v = (i.astype(np.float64) for i in inputs)
    seen = slice(attrs["first"], attrs["first"] + attrs["count"])
    k, v = (np.repeat(x[:, seen], attrs["group"], axis=0) for x in (k, v))
    scores = np.einsum("hd,hpd->hp", q, k) * np.float64(np.float32(attrs["scale"]))
    if attrs["cap"]:
        scores = attrs["cap"] * np.tanh(scores / attrs["cap"])
    weight = np.exp(scores - scores.max(axis=1, keepdims=True))
    y = np.einsum("hp,hpd->hd", weight / weight.sum(axis=1, keepdims=True), v)
    return [y.astype(np.float32)]


def bind_gated(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    """An empty ``up`` or ``index`` stands for none."""
    names = zip(("gate", "up", "index"), call.inputs, strict=True)
    given = {name: at if tensors[at].size else None for name, at in names}
    return [Binding("gated_f32", {**given, "y": call.outputs[0], **call.attrs})]


def bind_attend(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    named = dict(zip(("q", "k", "v"), call.inputs, strict=True))
    arguments = {**named, "y": call.outputs[0], **call.attrs}
    heads, count = min(HEADS_AT_ONCE, int(call.attrs["group"])), int(call.attrs["count"])  # type: ignore[arg-type]
    return [Binding("attend_f32", arguments, scratch_bytes=4 * heads * count)]


def _heads(attrs: Mapping[str, Any]) -> int:
    return int(attrs["heads"])


register(
    Contract("rope", ("x", "cosine", "sine"), ("y",), reference_rope, in_place=(0,), items=_heads),
    Contract(
        "gated", ("gate", "up", "index"), ("y",), reference_gated, in_place=(0,), bind=bind_gated,
        items=lambda a: spans(a["size"]),
    ),
    Contract("attend", ("q", "k", "v"), ("y",), reference_attend, bind=bind_attend, items=_heads),
)  # fmt: skip
