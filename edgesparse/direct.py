"""LoweredGraph -> LoweredGraph: channels that come last are read so, where a kernel can, and not moved first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from edgesparse.ops.copy import positions
from edgesparse.types import LoweredGraph, OpCall

LEFT_OUT = ""


def read_directly(graph: LoweredGraph) -> LoweredGraph:
    """Let ``entry`` calls read what a Transpose would rearrange for them where it is; nobody else must read it."""
    calls = list(graph.calls)
    made = {call.outputs[0]: call for call in calls if call.op == "copy"}
    readers = Counter(name for call in calls for name in call.inputs)
    writers = Counter(name for call in calls for name in call.outputs)
    for index, call in enumerate(calls):
        copy = made.get(call.inputs[0]) if call.op == "entry" else None
        if copy is None or copy.outputs[0] in graph.outputs:
            continue
        name = copy.outputs[0]
        strides = _strides(copy, call) if readers[name] == writers[name] == 1 else None
        if strides is not None:
            calls[index] = replace(call, inputs=(copy.inputs[0], *call.inputs[1:]), attrs={**call.attrs, **strides})
            calls[calls.index(copy)] = replace(copy, op=LEFT_OUT)
    return replace(graph, calls=tuple(call for call in calls if call.op != LEFT_OUT))


def _strides(copy: OpCall, entry: OpCall) -> dict[str, int] | None:
    """How ``entry`` finds its input in the source of ``copy``; None where strides do not say it."""
    a, b = dict[str, Any](copy.attrs), dict[str, Any](entry.attrs)
    shape = tuple(b[key] for key in ("images", "in_channels", "height", "width"))
    source = positions(a["dims"], a["x_stride"], a["x_offset"])
    place = np.full(prod(shape), -1, np.int64)
    if source.size != place.size:
        return None
    place[positions(a["dims"], a["y_stride"], a["y_offset"])] = source
    place = place.reshape(shape)
    steps = [int(place[tuple(int(i == axis) for i in range(4))]) if shape[axis] > 1 else 0 for axis in range(4)]
    if min(steps) < 0 or (place != positions(shape, steps, 0).reshape(shape)).any():
        return None
    return dict(zip(("x_image", "x_channel", "x_row", "x_pixel"), steps, strict=True))
