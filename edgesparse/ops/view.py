"""Contracts without arithmetic that every graph may need: `view` (no code) and `assign` (a copy)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgesparse.ops.operator import Constants, Contract, Tensors, register
from edgesparse.types import Array, Attr, Binding, Machine, OpCall, TensorSpec


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    return [inputs[0].reshape(outputs[0].shape)]


def bind_assign(call: OpCall, tensors: Tensors, constants: Constants, machine: Machine) -> list[Binding]:
    return [Binding("assign_u8", {"x": call.inputs[0], "y": call.outputs[0], "bytes": tensors[call.outputs[0]].bytes})]


register(
    Contract("view", ("x",), ("y",), reference),
    Contract("assign", ("x",), ("y",), reference, bind=bind_assign),
)
