"""Which calls can be divided among threads, and where threads have to wait for each other."""

from __future__ import annotations

from dataclasses import dataclass

from edgesparse.plan import scratch_name
from edgesparse.types import MemoryPlan, Selection, Step


def divided(step: Step) -> int | None:
    """How many items the kernel of ``step`` can be divided into; None: one thread does all of it."""
    kernel = next(iter(step.kernels.values()))
    if not {"begin", "end"} <= {name for _, name in kernel.parameters}:
        return None
    begin, end = step.binding.arguments["begin"], step.binding.arguments["end"]
    if begin != 0 or not isinstance(end, int):
        raise ValueError(f"{step.call.name}: a call covers items 0 to a number, not {begin} to {end}")
    return end


def by_weights(step: Step) -> bool:
    """Whether the items are blocks of weights, of which the parameter ``start`` says where each begins."""
    return isinstance(step.binding.arguments.get("start"), str)


def meetings(selection: Selection, memory: MemoryPlan) -> frozenset[int]:
    """The calls before which all threads meet: they touch what another thread may still be writing or reading.

    What one thread does alone is in order anyway, and what shares no memory needs none.
    """
    found = set()
    since: list[_Access] = []  # the last meeting
    for index, step in enumerate(selection.steps):
        own = _accesses(step, selection, memory)
        if any(a.disturbs(b) for a in own for b in since):
            found.add(index)
            since = []
        since += own
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Access:
    """Bytes begin..end-1 of ``place``, the arena or a buffer of the caller's. ``alone``: by the first thread only."""

    place: str
    begin: int
    end: int
    writes: bool
    alone: bool

    def disturbs(self, other: _Access) -> bool:
        overlap = self.place == other.place and self.begin < other.end and other.begin < self.end
        return overlap and (self.writes or other.writes) and not (self.alone and other.alone)


def _accesses(step: Step, selection: Selection, memory: MemoryPlan) -> list[_Access]:
    graph, alone = selection.graph, divided(step) is None
    found = []
    for writes, names in ((False, step.call.inputs), (True, step.call.outputs)):
        for name in names:
            size = graph.tensors[name].bytes
            name, within = memory.root(name)
            if name in memory.offset_bytes:
                at = memory.offset_bytes[name] + within
                found.append(_Access("arena", at, at + size, writes, alone))
            elif name not in graph.constants:
                found.append(_Access(name, 0, size, writes, alone))
    if step.binding.scratch_bytes:  # the first thread's work memory; that of the others is behind the arena
        at = memory.offset_bytes[scratch_name(step.call.name)]
        found.append(_Access("arena", at, at + step.binding.scratch_bytes, True, True))
    return found
