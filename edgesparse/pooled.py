"""LoweredGraph -> LoweredGraph: what only the mean of each plane is wanted of is averaged where it is computed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from edgesparse.ops.reduce import DIVIDE, SUM
from edgesparse.select import candidates
from edgesparse.types import LoweredGraph, OpCall, Target

LEFT_OUT = ""


def pool_planes(graph: LoweredGraph, target: Target) -> LoweredGraph:
    """Let ``spmm`` calls write the means of their planes, where a call that averages them is their only reader.

    That is the last convolution of most networks: its planes are then never all in memory. Where another kernel than
    those of ``spmm`` is faster (Winograd), both calls stay: it gains more than the planes cost.
    """
    calls = list(graph.calls)
    made = {call.outputs[0]: call for call in calls if call.op == "spmm"}
    readers = Counter(name for call in calls for name in call.inputs)
    for index, call in enumerate(calls):
        conv = made.get(call.inputs[0]) if call.op in ("reduce", "pool_avg") else None
        if conv is None or readers[call.inputs[0]] > 1 or call.inputs[0] in graph.outputs:
            continue
        if not _averages(call, conv) or not candidates(conv, graph, target)[0][0].binding.stem.startswith("spmm"):
            continue
        attrs = {**conv.attrs, "mean": 1}
        calls[calls.index(conv)] = replace(conv, outputs=call.outputs, attrs=attrs, absorbed=call.layer)
        calls[index] = replace(call, op=LEFT_OUT)
    return replace(graph, calls=tuple(call for call in calls if call.op != LEFT_OUT))


def _averages(call: OpCall, conv: OpCall) -> bool:
    """Whether ``call`` writes the mean of each plane that ``conv`` computes, and nothing else."""
    a, c = dict[str, Any](call.attrs), dict[str, Any](conv.attrs)
    planes = c["images"] * c["channels"]
    if call.op == "reduce":
        whole = a["inner"] == 1 and a["n"] == a["divisor"] == c["plane"] and a["outer"] == planes
        return bool(whole and a["kind"] == SUM and a["finish"] == DIVIDE)
    window = all(a[f"kernel_{d}"] == a[f"size_{d}"] and a[f"dilation_{d}"] == a[f"out_{d}"] == 1 for d in "yx")
    padding = any(a[f"{end}_{d}"] for end in ("begin", "end") for d in "yx")
    return bool(window and not padding and a["size_y"] * a["size_x"] == c["plane"] and a["end"] == planes)
