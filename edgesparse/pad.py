"""LoweredGraph -> LoweredGraph: planes begin at multiples of a vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

from edgesparse.kernels import ISAS
from edgesparse.ops import CONTRACTS
from edgesparse.types import LoweredGraph, OpCall, Target

SMALLEST_PLANE = 32  # below, padding costs more memory than it saves time


def pad_planes(graph: LoweredGraph, target: Target) -> LoweredGraph:
    """Give activations a pitch that is a multiple of the widest vector of ``target``, where all their users allow.

    Planes of 14x14 and 7x7 are no whole number of vectors: unpadded, most loads cross a cache line and the last
    vector of every plane is computed twice. Inputs and outputs of the model stay as the caller gives them.
    """
    width = max(ISAS[isa].width for isa in target.isas)
    users: dict[str, list[tuple[int, str]]] = {}
    refused = {*graph.inputs, *graph.outputs, *graph.constants}
    for index, call in enumerate(graph.calls):
        allowed = CONTRACTS[call.op].pitches(call) if call.op != "view" else []
        for name, attribute in allowed:
            users.setdefault(name, []).append((index, attribute))
        # every mention of a tensor must be one that allows a pitch
        mentions = [*call.inputs, *call.outputs]
        refused |= {n for n in mentions if mentions.count(n) != sum(n == name for name, _ in allowed)}
    tensors, attributes = dict(graph.tensors), [dict(call.attrs) for call in graph.calls]
    for name, places in users.items():
        plane = prod(graph.tensors[name].shape[2:])
        distances = {graph.calls[index].attrs[attribute] for index, attribute in places}
        if plane < SMALLEST_PLANE or plane % width == 0 or distances != {plane}:
            refused.add(name)
    parts = [(call.inputs[0], call.outputs[0]) for call in graph.calls if call.op == "part"]
    while mixed := {n for pair in parts for n in pair if len(refused & {*pair}) == 1} - refused:
        refused |= mixed  # a part is laid out as the whole
    for name, places in users.items():
        if name in refused:
            continue
        plane = prod(graph.tensors[name].shape[2:])
        pitch = -(-plane // width) * width
        tensors[name] = replace(tensors[name], pitch=pitch)
        for index, attribute in places:
            attributes[index][attribute] = pitch
    calls = tuple(_with(call, attrs) for call, attrs in zip(graph.calls, attributes, strict=True))
    return replace(graph, tensors=tensors, calls=calls)


def _with(call: OpCall, attrs: Mapping[str, int | float | tuple[int, ...]]) -> OpCall:
    return call if attrs == call.attrs else replace(call, attrs=attrs)
