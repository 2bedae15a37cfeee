"""The end of lowering: every output of the model gets memory of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edgesparse.ops import Lowering, Unsupported
from edgesparse.types import LoweredGraph, OpCall


def output_problems(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Iterator[Unsupported]:
    """Outputs that no memory plan can serve: an input, or one that is listed twice."""
    for index, name in enumerate(outputs):
        what = ""
        if name in outputs[:index]:
            what = "is listed twice"
        elif name in inputs:
            what = "is also an input of the model"
        if what:
            yield Unsupported(
                f"output '{name}' {what}", where="outputs", hint="remove it, or put an Identity before it"
            )  # fmt: skip


def finish(inputs: tuple[str, ...], outputs: tuple[str, ...], out: Lowering) -> LoweredGraph:
    """Names the outputs; copies those that are a constant, or the same bytes as an input or another output."""
    calls = list(out.calls)
    source = {c.outputs[0]: c.inputs[0] for c in calls if c.op == "view"}

    def root(name: str) -> str:
        while name in source:
            name = source[name]
        return name

    taken: set[str] = set()
    for name in outputs:
        if name not in source and name not in inputs and name not in out.constants:
            taken.add(name)
    for name in outputs:
        if name in taken:
            continue
        origin = root(name)
        if name in source and origin not in taken and origin not in inputs and origin not in out.constants:
            taken.add(origin)
            continue
        spec = out.tensors[name]
        if name in source:
            calls = [
                OpCall(c.name, "assign", c.inputs, c.outputs, {"bytes": spec.bytes}, c.layer)
                if c.op == "view" and c.outputs[0] == name
                else c
                for c in calls
            ]
            continue
        # a constant, maybe folded: it gets another name and is copied when the model runs
        value = f"{name}.value"
        while value in out.tensors:
            value += "_"
        calls = [replace(c, inputs=tuple(value if n == name else n for n in c.inputs)) for c in calls]
        calls.append(OpCall(value, "assign", (value,), (name,), {"bytes": spec.bytes}, name))
        out.constants[value], out.tensors[value] = out.constants.pop(name), replace(spec, name=value)
    used = {n for c in calls for n in (*c.inputs, *c.outputs)} | set(inputs) | set(outputs)
    return LoweredGraph(
        {k: v for k, v in out.tensors.items() if k in used}, tuple(calls),
        {k: np.ascontiguousarray(v).reshape(v.shape) for k, v in out.constants.items() if k in used}, inputs, outputs,
    )  # fmt: skip
