"""Selection -> MemoryPlan: where every activation lives. Inputs and outputs are the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

from edgesparse.bands import rounds
from edgesparse.ops import CONTRACTS
from edgesparse.types import DTYPES, MemoryPlan, Selection

ALIGN_BYTES = 64


def plan(selection: Selection, *, align: int = ALIGN_BYTES) -> MemoryPlan:
    """Pack all live ranges into one arena, largest first, at the lowest free offset.

    Views share their source's memory, parts lie in that of the whole; an element-wise result overwrites an operand
    that dies there.
    Tries a few orders (by size, by length of life, by size times length) and keeps the smallest.
    """
    graph = selection.graph
    external = {*graph.inputs, *graph.outputs, *graph.constants}
    alias, within = _views(selection), _parts(selection)
    alias |= {part: whole for part, (whole, _) in within.items()}

    def root(name: str) -> str:
        while name in alias:
            name = alias[name]
        return name

    live: dict[str, tuple[int, int]] = {}
    sizes: dict[str, int] = {}
    last_use: dict[str, int] = {}
    in_turns = rounds(selection)
    for index, step in enumerate(selection.steps):
        for name in step.call.inputs:
            last_use[root(name)] = in_turns.get(index, (index, index))[1]
    for index, step in enumerate(selection.steps):
        begin, end = in_turns.get(index, (index, index))
        for name in step.call.outputs:
            own = root(name)
            if own in external or own in live:  # or another part of it was written before
                continue
            host = _dying_operand(selection, index, name, root, last_use, external) if own == name else None
            if host is not None:
                alias[own] = host
                last_use[host] = max(last_use[host], last_use.get(own, index))
                live[host] = (live[host][0], last_use[host])
                continue
            sizes[own] = -(-graph.tensors[own].bytes // align) * align
            live[own] = (begin, max(last_use.get(own, end), end))
        if step.binding.scratch_bytes:
            name = scratch_name(step.call.name)
            sizes[name] = -(-step.binding.scratch_bytes // align) * align
            live[name] = (begin, end)
    orders = (
        lambda n: (-sizes[n], live[n]),
        lambda n: (-(live[n][1] - live[n][0]), -sizes[n]),
        lambda n: (-sizes[n] * (live[n][1] - live[n][0] + 1), live[n]),
    )
    best: dict[str, int] | None = None
    for order in orders:
        offsets = _place(sorted(sizes, key=order), sizes, live)
        if best is None or _end(offsets, sizes) < _end(best, sizes):
            best = offsets
    return MemoryPlan(
        best or {}, alias, _end(best or {}, sizes), _lower_bound(sizes, live), live,
        max((sizes[scratch_name(s.call.name)] for s in selection.steps if s.binding.scratch_bytes), default=0),
        {part: at for part, (_, at) in within.items()},
    )  # fmt: skip


def scratch_name(call_name: str) -> str:
    """The name under which the plan holds the scratch memory of a call."""
    return f"{call_name}.scratch"


def _views(selection: Selection) -> dict[str, str]:
    """View -> source; reversed where the view is an output, so that the source is written there."""
    graph = selection.graph
    alias: dict[str, str] = {}
    for call in graph.calls:
        if call.op == "view":
            alias[call.outputs[0]] = call.inputs[0]
    for name in graph.outputs:
        chain = [name]
        while chain[-1] in alias:
            chain.append(alias[chain[-1]])
        for view, source in pairwise(chain):
            del alias[view]
            alias[source] = view
    return alias


def _parts(selection: Selection) -> dict[str, tuple[str, int]]:
    """Part -> (whole, bytes before it)."""
    found = {}
    for call in selection.graph.calls:
        if call.op == "part":
            (part,), (whole,), a = call.inputs, call.outputs, call.attrs
            size = DTYPES[selection.graph.tensors[part].dtype].itemsize
            found[part] = (whole, int(a["planes_before"]) * int(a["plane"]) * size)  # type: ignore[arg-type]
    return found


def _dying_operand(
    selection: Selection,
    index: int,
    output: str,
    root: Callable[[str], str],
    last_use: Mapping[str, int],
    external: set[str],
) -> str | None:
    step = selection.steps[index]
    if step.binding.scratch_bytes or len(step.call.outputs) != 1:
        return None
    tensors = selection.graph.tensors
    roots = [root(n) for n in step.call.inputs]
    for position in CONTRACTS[step.call.op].in_place:
        if position >= len(step.call.inputs):
            continue
        name = roots[position]
        same = tensors[step.call.inputs[position]].bytes == tensors[output].bytes == tensors[name].bytes
        alone = roots.count(name) == 1
        if name not in external and same and alone and last_use[name] == index and tensors[output].bytes:
            return name
    return None


def _place(order: Iterable[str], sizes: Mapping[str, int], live: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    offsets: dict[str, int] = {}
    for name in order:
        first, last = live[name]
        taken = sorted(
            (offsets[o], offsets[o] + sizes[o]) for o in offsets if live[o][0] <= last and first <= live[o][1]
        )
        at = 0
        for begin, end in taken:
            if begin - at >= sizes[name]:
                break
            at = max(at, end)
        offsets[name] = at
    return offsets


def _end(offsets: Mapping[str, int], sizes: Mapping[str, int]) -> int:
    return max((offsets[n] + sizes[n] for n in offsets), default=0)


def _lower_bound(sizes: Mapping[str, int], live: Mapping[str, tuple[int, int]]) -> int:
    change: dict[int, int] = {}
    for name, (first, last) in live.items():
        if name in sizes:
            change[first] = change.get(first, 0) + sizes[name]
            change[last + 1] = change.get(last + 1, 0) - sizes[name]
    total = best = 0
    for index in sorted(change):
        total += change[index]
        best = max(best, total)
    return best
