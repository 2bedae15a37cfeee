"""The memory plan: an independent look at every buffer of random graphs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgesparse.plan import ALIGN_BYTES, plan, scratch_name
from edgesparse.types import Binding, LoweredGraph, MemoryPlan, OpCall, Selection, Step, TensorSpec

OPS = ("activation", "binary", "softmax", "view")
"""In place on the first operand; on either; never (as far as the plan is told); no code at all."""


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    """Calls that read any tensors before them, with scratch memory here and there; some results are outputs."""
    sizes = st.integers(1, 600)
    tensors = {"x": TensorSpec("x", (draw(sizes),), "f32")}
    calls: list[OpCall] = []
    steps: list[Step] = []
    for i in range(draw(st.integers(1, 14))):
        op, name = draw(st.sampled_from(OPS)), f"t{i}"
        first = draw(st.sampled_from(sorted(tensors)))
        inputs = (first, draw(st.sampled_from(sorted(tensors)))) if op == "binary" else (first,)
        same = op == "view" or draw(st.booleans())
        tensors[name] = TensorSpec(name, tensors[first].shape if same else (draw(sizes),), "f32")
        call = OpCall(f"call{i}", op, inputs, (name,), {}, f"layer{i}")
        calls.append(call)
        if op != "view":
            scratch = draw(st.sampled_from((0, 0, 0, 4, 1000)))
            steps.append(Step(call, Binding(op, {}, scratch_bytes=scratch), {}))
    made = [c.outputs[0] for c in calls if c.op != "view"]
    outputs = tuple(sorted(draw(st.sets(st.sampled_from(made), max_size=2)))) if made else ()
    graph = LoweredGraph(tensors, tuple(calls), {}, ("x",), outputs)
    return Selection(graph, tuple(steps), {}, ("scalar",))


def place(memory: MemoryPlan, name: str) -> str:
    while name in memory.alias:
        name = memory.alias[name]
    return name


@settings(max_examples=300, derandomize=True, deadline=None)
@given(selection=selections())
def test_nothing_that_is_still_read_is_overwritten(selection: Selection) -> None:
    """Run the plan on a memory of tags: every call must find in its operands what their makers wrote."""
    graph, memory = selection.graph, plan(selection)
    content: dict[object, str] = {("external", "x"): "x"}

    def cells(name: str) -> list[object]:
        own = place(memory, name)
        if own in memory.offset_bytes:
            begin = memory.offset_bytes[own]
            return [begin + k for k in range(0, graph.tensors[name].bytes, 4)]
        return [("external", own)]

    source = {c.outputs[0]: c.inputs[0] for c in graph.calls if c.op == "view"}

    def maker(name: str) -> str:
        while name in source:
            name = source[name]
        return name

    for step in selection.steps:
        for name in step.call.inputs:
            assert {content.get(cell) for cell in cells(name)} == {maker(name)}, f"{step.call.name} reads {name}"
        scratch = scratch_name(step.call.name)
        if scratch in memory.offset_bytes:
            for k in range(0, step.binding.scratch_bytes, 4):
                content[memory.offset_bytes[scratch] + k] = scratch
            for name in step.call.inputs:
                assert {content.get(cell) for cell in cells(name)} == {maker(name)}, f"scratch of {step.call.name}"
        for name in step.call.outputs:
            for cell in cells(name):
                content[cell] = name
    for name in graph.outputs:
        assert {content.get(cell) for cell in cells(name)} == {name}


@settings(max_examples=100, derandomize=True, deadline=None)
@given(selection=selections())
def test_the_arena_is_no_larger_than_all_buffers_and_no_smaller_than_the_bound(selection: Selection) -> None:
    memory = plan(selection)
    sizes = {
        name: selection.graph.tensors[name].bytes for name in memory.offset_bytes if name in selection.graph.tensors
    }
    sizes |= {scratch_name(s.call.name): s.binding.scratch_bytes for s in selection.steps if s.binding.scratch_bytes}
    rounded = {name: -(-size // ALIGN_BYTES) * ALIGN_BYTES for name, size in sizes.items()}
    assert memory.lower_bound_bytes <= memory.arena_bytes <= sum(rounded[n] for n in memory.offset_bytes)
    for name, offset in memory.offset_bytes.items():
        assert offset % ALIGN_BYTES == 0 and offset + sizes[name] <= memory.arena_bytes
