"""What of weights.bin belongs to which layer: the constants of every step, where they lie, and what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesparse.manifest import Stored
from edgesparse.ops.view import PLACED
from edgesparse.plan import ALIGN_BYTES
from edgesparse.types import DTYPES, Array, OpCall, Selection, Step

VECTORS = ("bias", "slope")


@dataclass(frozen=True, slots=True)
class Placement:
    """One constant that step ``step`` reads as the C parameter ``parameter``.

    ``padding``: bytes behind it, up to the next multiple of 64. ``shared``: an earlier placement has the same bytes
    already, so that this one takes none.
    """

    step: int
    parameter: str
    name: str
    array: Array
    offset: int
    padding: int
    shared: bool


def weights_bin(selection: Selection) -> tuple[bytes, tuple[Placement, ...]]:
    """Every constant that a call reads, 64-byte aligned, equal ones stored once; and where they are."""
    chunks: list[bytes] = []
    offsets: dict[str, int] = {}
    seen: dict[bytes, int] = {}
    placed: list[Placement] = []
    size = 0
    for index, step in enumerate(selection.steps):
        pool: Mapping[str, Array] = {**selection.graph.constants, **step.binding.constants}
        for parameter, value in step.binding.arguments.items():
            if not isinstance(value, str) or value not in pool:
                continue
            array = np.ascontiguousarray(pool[value])
            if value in offsets:
                placed.append(Placement(index, parameter, value, array, offsets[value], 0, True))
                continue
            data = array.tobytes()
            shared = data in seen
            offsets[value] = seen.setdefault(data, size)
            padding = 0 if shared else -len(data) % ALIGN_BYTES
            placed.append(Placement(index, parameter, value, array, offsets[value], padding, shared))
            if not shared:
                chunks += [data, bytes(padding)]
                size += len(data) + padding
    return b"".join(chunks), tuple(placed)


def stored(selection: Selection) -> list[tuple[Stored, ...]]:
    """For every step what the manifest says of its constants."""
    found: list[list[Stored]] = [[] for _ in selection.steps]
    for p in weights_bin(selection)[1]:
        zeros = (p.array.size - int(np.count_nonzero(p.array))) * p.array.itemsize
        found[p.step].append(
            Stored(
                parameter=p.parameter, kind=_kind(p), dtype=_dtype(p.array), offset=p.offset, bytes=p.array.nbytes,
                padding_bytes=p.padding, zero_bytes=zeros, shared=p.shared,
            )
        )  # fmt: skip
    return [tuple(each) for each in found]


def geometry(selection: Selection, call: OpCall) -> dict[str, Any]:
    """Of a call with weights: ``weight_shape``, and for `spmm` what its offsets mean.

    ``weight_shape``: (Co, Ci, positions of the kernel), the last as one number or as height and width.
    ``plane_bytes``: from one input channel to the next; ``tap_bytes``: of each position of the kernel. Empty for a
    call that has no weights to leave out.
    """
    a: Mapping[str, Any] = call.attrs
    if call.op == "spmm":
        size = DTYPES[selection.graph.tensors[call.inputs[0]].dtype].itemsize
        shape = (a["channels"], a["in_channels"], len(a["tap"]))
        taps = tuple(size * tap for tap in a["tap"])
        return {"weight_shape": shape, "plane_bytes": size * a["x_plane"], "tap_bytes": taps}
    if call.op == "entry":
        return {"weight_shape": (a["channels"], a["in_channels"], a["kernel_y"], a["kernel_x"])}
    if call.op == "depthwise":
        return {"weight_shape": (a["channels"] * a["multiplier"], 1, a["kernel_y"], a["kernel_x"])}
    return {}


def traffic(selection: Selection) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """For every step the tensors that it reads and writes, without constants.

    Views and parts have the name of the tensor in whose memory they lie; what is an output of the model has its name.
    """
    graph = selection.graph
    root: dict[str, str] = {}

    def of(name: str) -> str:
        while name in root:
            name = root[name]
        return name

    for call in graph.calls:
        if call.op == "view":
            root[call.outputs[0]] = of(call.inputs[0])
        elif call.op in PLACED:  # a part: its memory is that of the whole
            root[of(call.inputs[0])] = call.outputs[0]
    names = {of(name): name for name in graph.outputs if of(name) not in graph.inputs}

    def known(step: Step, tensors: tuple[str, ...]) -> tuple[str, ...]:
        own = {**graph.constants, **step.binding.constants}
        roots = (of(n) for n in tensors if n not in own)
        return tuple(dict.fromkeys(names.get(r, r) for r in roots))

    return [(known(s, s.call.inputs), known(s, s.call.outputs)) for s in selection.steps]


def _kind(placed: Placement) -> str:
    if placed.array.dtype.kind in "iu" and placed.parameter in ("offset", "start", "index"):
        return "indices"
    return "bias" if placed.parameter in VECTORS else "values"


def _dtype(array: Array) -> str:
    return {dtype: name for name, dtype in DTYPES.items()}[array.dtype]
