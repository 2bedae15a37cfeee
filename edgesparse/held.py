"""Where the output of each layer lies when it has been written, so that a profile can count its zeros."""

from __future__ import annotations

from math import prod

from edgesparse.manifest import Held
from edgesparse.types import DTYPES, MemoryPlan, Selection, Step

FLOATS = ("f32", "f16")


def held(step: Step, calls: tuple[int, ...], selection: Selection, memory: MemoryPlan) -> Held | None:
    """Of the output that ``step`` has written after the last of ``calls``.

    None for integers; for several outputs; and for layers that take turns (`bands`), whose memory then holds the last
    rows only.
    """
    graph = selection.graph
    spec = graph.tensors[step.call.outputs[0]]
    if len(calls) != 1 or len(step.call.outputs) != 1 or spec.dtype not in FLOATS:
        return None
    planes, elements = prod(spec.shape[:2]), prod(spec.shape[2:])
    name, at = memory.root(spec.name)
    outside = name in graph.outputs
    if not outside and name not in memory.offset_bytes:
        return None
    return Held(
        output=name if outside else "", offset=at + (0 if outside else memory.offset_bytes[name]), planes=planes,
        elements=elements, pitch=spec.pitch or elements, element_bytes=DTYPES[spec.dtype].itemsize,
    )  # fmt: skip
