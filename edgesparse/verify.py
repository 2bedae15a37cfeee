"""Checks between the stages. A failure here is a bug of ours, caught before it computes nonsense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesparse.errors import InputError
from edgesparse.ops import CONTRACTS
from edgesparse.plan import scratch_name
from edgesparse.types import LoweredGraph, MemoryPlan, Selection

if TYPE_CHECKING:
    import onnx_ir as ir


class StageError(Exception):
    """A stage broke its promise to the next one."""


def check_model(model: ir.Model) -> ir.Model:
    """What the user hands over is a model. Raises InputError, which says how to get one."""
    # by what it has: onnx_ir is not imported here
    if not (hasattr(model, "clone") and hasattr(model, "graph")):
        how = "es.load(path) reads a file, es.export(module, example_inputs) captures a torch module"
        raise InputError(f"not a model but {type(model).__name__}: {str(model)[:80]!r}", hint=how)
    return model


def check_graph(graph: LoweredGraph) -> LoweredGraph:
    """Every call has a contract, and reads only what was written before it."""
    known = {*graph.inputs, *graph.constants}
    parts: set[str] = set()  # outputs that partial calls write together
    for call in graph.calls:
        if call.op not in CONTRACTS:
            raise StageError(f"{call.name}: no contract for {call.op}")
        for name in call.inputs:
            if name not in known and graph.tensors[name].size:
                raise StageError(f"{call.name} reads {name!r} before anything wrote it")
        for name in call.outputs:
            if name in known and not (name in parts and CONTRACTS[call.op].partial):
                raise StageError(f"{call.name} writes {name!r} a second time")
            known.add(name)
            if CONTRACTS[call.op].partial:
                parts.add(name)
    for name in graph.outputs:
        if name not in known and graph.tensors[name].size:
            raise StageError(f"output {name!r} is never written")
    return graph


def check_plan(plan: MemoryPlan, selection: Selection) -> MemoryPlan:
    """Buffers that are live at the same time never overlap; all lie in the arena, aligned."""
    graph = selection.graph
    size = {n: graph.tensors[n].bytes for n in plan.offset_bytes if n in graph.tensors}
    for step in selection.steps:
        if step.binding.scratch_bytes:
            size[scratch_name(step.call.name)] = step.binding.scratch_bytes
    names = sorted(plan.offset_bytes, key=lambda n: plan.live[n])
    for i, a in enumerate(names):
        begin, end = plan.offset_bytes[a], plan.offset_bytes[a] + size[a]
        if begin % 64 or end > plan.arena_bytes:
            raise StageError(f"{a!r} at {begin}..{end} is not aligned or outside of the arena")
        for b in names[i + 1 :]:
            if plan.live[b][0] > plan.live[a][1]:
                break
            if begin < plan.offset_bytes[b] + size[b] and plan.offset_bytes[b] < end:
                raise StageError(f"{a!r} and {b!r} are live together and overlap")
    return plan
