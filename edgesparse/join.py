"""LoweredGraph -> LoweredGraph: what is concatenated is computed where it belongs, and not copied there."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from edgesparse.types import LoweredGraph, OpCall


def join_concats(graph: LoweredGraph) -> LoweredGraph:
    """Replace the copies of a Concat over channels by ``part`` calls, which cost nothing.

    The source is then a part of the target's memory from the start. It must be an activation that one call computes,
    of one image, and a part of nothing else; inputs and outputs of the model are the caller's memory.
    """
    fixed = {*graph.inputs, *graph.outputs, *graph.constants}
    for call in graph.calls:
        if call.op == "view":
            fixed |= {*call.inputs, *call.outputs}
    calls = []
    for call in graph.calls:
        if _is_part(graph, call) and call.inputs[0] not in fixed and call.outputs[0] not in graph.outputs:
            fixed.add(call.inputs[0])
            plane = prod(graph.tensors[call.inputs[0]].shape[2:])
            at = int(call.attrs["y_offset"]) // plane  # type: ignore[arg-type]
            call = replace(call, op="part", attrs={"plane": plane, "planes_before": at})
        calls.append(call)
    return replace(graph, calls=tuple(calls))


def _is_part(graph: LoweredGraph, call: OpCall) -> bool:
    """Whether ``call`` copies all of its source to whole channels of its target, in order."""
    if call.op != "copy":
        return False
    x, y, a = graph.tensors[call.inputs[0]], graph.tensors[call.outputs[0]], call.attrs
    one_run = a["dims"][-1] == x.size and a["x_stride"][-1] == a["y_stride"][-1] == 1  # type: ignore[index]
    same = len(x.shape) > 2 and x.shape[0] == y.shape[0] == 1 and x.shape[2:] == y.shape[2:] and x.size > 0
    return one_run and same and a["x_offset"] == 0 and a["y_offset"] % prod(x.shape[2:]) == 0  # type: ignore[operator]
