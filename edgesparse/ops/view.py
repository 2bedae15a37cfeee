"""Contracts without arithmetic that every graph may need: `view` and `part` (no code) and `assign` (a copy)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesparse.ops.operator import Constants, Contract, Tensors, register
from edgesparse.types import Array, Attr, Binding, Machine, OpCall, TensorSpec


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    return [inputs[0].reshape(outputs[0].shape)]


def reference_part(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    """``x`` is planes of ``y``, of which ``planes_before`` come before it; what else there is in y is 0xff."""
    a: dict[str, Any] = dict(attrs)
    y = np.full(outputs[0].bytes, 255, np.uint8).view(inputs[0].dtype)
    begin = a["planes_before"] * a["plane"]
    y[begin : begin + inputs[0].size] = inputs[0].reshape(-1)
    return [y.reshape(outputs[0].buffer_shape)]


def _pitches(call: OpCall) -> list[tuple[str, str]]:
    return [(call.inputs[0], "plane"), (call.outputs[0], "plane")]


def bind_assign(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    return [Binding("assign_u8", {"x": call.inputs[0], "y": call.outputs[0], "bytes": tensors[call.outputs[0]].bytes})]


PLACED = frozenset({"view", "part"})
"""Calls that only say where memory lies: no kernel runs for them."""

register(
    Contract("view", ("x",), ("y",), reference),
    Contract("part", ("x",), ("y",), reference_part, partial=True, pitches=_pitches),
    Contract("assign", ("x",), ("y",), reference, bind=bind_assign),
)
