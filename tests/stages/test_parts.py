"""Where threads meet: an independent look at every byte that calls of random graphs touch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from edgesparse.parts import divided, meetings
from edgesparse.plan import plan, scratch_name
from edgesparse.types import Kernel, Selection, Step

from .test_plan import place, selections


def _kernel(*parameters: str) -> Kernel:
    return Kernel("k", "k", "k", "f32", "scalar", Path("k.c"), {}, tuple(("int64_t", p) for p in parameters))


@st.composite
def divisible(draw: st.DrawFn) -> Selection:
    """As `selections`, with kernels some of which can be divided."""
    selection = draw(selections())
    steps = []
    for step in selection.steps:
        cut = draw(st.booleans())
        kernel = _kernel("begin", "end") if cut else _kernel("size")
        binding = replace(step.binding, arguments={"begin": 0, "end": 8} if cut else {})
        steps.append(Step(step.call, binding, {"scalar": kernel}))
    return replace(selection, steps=tuple(steps))


@settings(max_examples=300, derandomize=True, deadline=None)
@given(selection=divisible())
def test_nobody_touches_what_another_thread_may_still_write(selection: Selection) -> None:
    """Between two meetings threads run as they like: of one byte all may read, or one thread do what it wants."""
    graph, memory = selection.graph, plan(selection)
    meet = meetings(selection, memory)
    touched: dict[object, list[tuple[bool, bool]]] = {}  # (written, by the first thread alone)

    def cells(name: str) -> list[object]:
        own = place(memory, name)
        if own in memory.offset_bytes:
            return list(range(memory.offset_bytes[own], memory.offset_bytes[own] + graph.tensors[name].bytes, 4))
        return [own]

    for index, step in enumerate(selection.steps):
        if index in meet:
            touched = {}
        alone = divided(step) is None
        uses = [(cell, False, alone) for name in step.call.inputs for cell in cells(name)]
        uses += [(cell, True, alone) for name in step.call.outputs for cell in cells(name)]
        scratch = scratch_name(step.call.name)
        if scratch in memory.offset_bytes:
            at = memory.offset_bytes[scratch]
            uses += [(at + k, True, True) for k in range(0, step.binding.scratch_bytes, 4)]
        for cell, written, by_first in uses:
            for other_written, other_by_first in touched.get(cell, ()):
                assert not (written or other_written) or (by_first and other_by_first), f"{step.call.name}: {cell}"
        for cell, written, by_first in uses:
            touched.setdefault(cell, []).append((written, by_first))
    largest = max((s.binding.scratch_bytes for s in selection.steps), default=0)
    assert memory.scratch_bytes == -(-largest // 64) * 64


@settings(max_examples=50, derandomize=True, deadline=None)
@given(selection=selections())
def test_one_thread_alone_never_waits(selection: Selection) -> None:
    steps = tuple(replace(step, kernels={"scalar": _kernel("size")}) for step in selection.steps)
    alone = replace(selection, steps=steps)
    assert not meetings(alone, plan(alone))
