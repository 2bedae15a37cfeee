"""LoweredGraph -> LoweredGraph: activations and weights become halves (f16) where there are kernels for them.

Inputs and outputs of the model stay f32, and so does what calls without such a kernel read and write (softmax, say);
``convert`` calls stand in between. Weights are rounded when they are packed. Bias and slope stay f32: they are few,
and the kernels add them to sums.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgesparse.ops import CONTRACTS
from edgesparse.ops.view import PLACED
from edgesparse.select import candidates
from edgesparse.types import Array, LoweredGraph, OpCall, Target, TensorSpec

LARGEST = float(np.finfo(np.float16).max)
STORED_AS = frozenset({"f16", "b2", "u8"})
"""What kernels for halves are called in the table; ``assign`` moves bytes."""
HEAVY = frozenset({"spmm", "depthwise"})
"""Calls that are worth a conversion of their inputs and outputs. The others follow their neighbours."""


def in_precision(graph: LoweredGraph, target: Target) -> tuple[LoweredGraph, tuple[str, ...]]:
    """``graph`` in ``target.precision``, and what the user should know of it."""
    if target.precision == "f32":
        return graph, ()
    too_large = frozenset(n for n, x in graph.constants.items() if x.dtype == np.float32 and _overflows(x))
    halves = _Halves(graph, target, too_large)
    done = halves.graph()
    notes = []
    if layers := sorted({c.layer for c in graph.calls if too_large & {*c.inputs}}):
        notes.append(f"weights beyond {LARGEST:g}, the largest f16: {', '.join(layers)} stay f32")
    return done, tuple(notes)


def _overflows(x: Array) -> bool:
    return bool((np.abs(x[np.isfinite(x)]) > LARGEST).any())


class _Halves:
    """Decides for one graph. ``halves``: the indices of calls that compute with halves.

    Tensors that share memory (views, and parts of a whole) are of one type: that of all that is written there.
    """

    def __init__(self, source: LoweredGraph, target: Target, too_large: frozenset[str]) -> None:
        self.source = source
        self.floats = frozenset(n for n, spec in source.tensors.items() if spec.dtype == "f32")
        self.root: dict[str, str] = {}
        for call in source.calls:
            if call.op in PLACED:
                self._join(call.inputs[0], call.outputs[0])
        self.halves = {
            i for i, call in enumerate(source.calls)
            if call.op not in PLACED and not too_large & {*call.inputs} and self._capable(call, target)
        }  # fmt: skip
        while self._drop():
            pass
        self.stored = self._stored()

    def _join(self, one: str, other: str) -> None:
        self.root[self._find(one)] = self._find(other)

    def _find(self, name: str) -> str:
        while name in self.root:
            name = self.root[name]
        return name

    def _capable(self, call: OpCall, target: Target) -> bool:
        """Whether every kernel that could be chosen for ``call`` is one for halves."""
        packs = CONTRACTS[call.op].packs
        residual = call.inputs[3:4] if call.attrs.get("has_residual") else ()
        if packs and {call.inputs[0], *residual} & {*self.source.constants}:  # no weights, but taken for them
            return False
        named = {n: s for n, s in self.source.tensors.items() if n in (*call.inputs, *call.outputs)}
        if not any(s.dtype == "f32" for s in named.values()):
            return False
        keep = {*self.source.constants} if packs else set()
        tensors = {n: s if n in keep else _as_half(s) for n, s in named.items()}
        constants = {n: c for n, c in self.source.constants.items() if n in tensors}
        found, _ = candidates(_with_halves(call), LoweredGraph(tensors, (call,), constants, (), ()), target)
        return bool(found) and all(k.dtype in STORED_AS for c in found for k in c.kernels.values())

    def _written(self) -> dict[str, set[int]]:
        """The calls that write into each piece of memory."""
        found: dict[str, set[int]] = {}
        for i, call in enumerate(self.source.calls):
            if call.op not in PLACED:
                for name in call.outputs:
                    found.setdefault(self._find(name), set()).add(i)
        return found

    def _stored(self) -> frozenset[str]:
        """The roots of memory that holds halves: computed, and by nothing but halves."""
        given = {self._find(n) for n in (*self.source.inputs, *self.source.constants)}
        return frozenset(
            root for root, calls in self._written().items()
            if calls <= self.halves and root not in given and root in self.floats
        )  # fmt: skip

    def _drop(self) -> bool:
        """Take out calls that cannot store what they compute, or would only cause conversions; whether there were any.

        A light call is worth it beside another one that reads or writes halves.
        """
        stored = self._stored()
        read: dict[str, set[int]] = {}
        for i, call in enumerate(self.source.calls):
            if call.op not in PLACED:
                for name in call.inputs:
                    read.setdefault(self._find(name), set()).add(i)
        dropped = set()
        for i in self.halves:
            call = self.source.calls[i]
            outputs = {self._find(n) for n in call.outputs}
            if not outputs <= stored:
                dropped.add(i)
                continue
            beside = bool({self._find(n) for n in call.inputs} & stored)
            beside |= any(read.get(root, set()) & self.halves for root in outputs)
            if call.op not in HEAVY and not beside:
                dropped.add(i)
        self.halves -= dropped
        return bool(dropped)

    def graph(self) -> LoweredGraph:
        """The calls with conversions between them, and operands renamed: ``x.f16`` is the f32 x in halves."""
        made = _Made(dict(self.source.tensors), dict(self.source.constants), [])
        for name in self.floats:
            if self._find(name) in self.stored and name not in self.source.outputs:
                made.tensors[name] = _as_half(self.source.tensors[name])
        for i, call in enumerate(self.source.calls):
            half = i in self.halves or (call.op in PLACED and self._find(call.inputs[0]) in self.stored)
            made.calls.append(self._renamed(call, half, made))
        for name in self.source.outputs:
            if name in self.floats and self._find(name) in self.stored:
                made.finish(name)
        return replace(self.source, tensors=made.tensors, constants=made.constants, calls=tuple(made.calls))

    def _renamed(self, call: OpCall, half: bool, made: _Made) -> OpCall:
        half_name, outputs = made.half_name, self.source.outputs
        keep = {*self.source.constants} if CONTRACTS[call.op].packs else set()

        def operand(name: str) -> str:
            if name not in self.floats or (half and name in keep):
                return name
            stored = self._find(name) in self.stored
            if half:
                if name in self.source.constants:
                    return made.half_constant(name)
                if stored:
                    return half_name(name) if name in outputs else name
                return made.converted(name, half_name(name), call.layer)
            if stored and name in outputs:
                made.finish(name)
                return name
            return made.converted(name, made.float_name(name), call.layer) if stored else name

        def result(name: str) -> str:
            if half and name in self.floats and name in outputs:
                made.tensors[half_name(name)] = replace(_as_half(self.source.tensors[name]), name=half_name(name))
                return half_name(name)
            return name

        inputs = tuple(map(operand, call.inputs))
        call = _with_halves(call) if half else call
        return replace(call, inputs=inputs, outputs=tuple(map(result, call.outputs)))


class _Made:
    """The graph that is being made. ``finished``: outputs of the model that are converted."""

    def __init__(self, tensors: dict[str, TensorSpec], constants: dict[str, Array], calls: list[OpCall]) -> None:
        self.tensors, self.constants, self.calls = tensors, constants, calls
        self.finished: set[str] = set()
        self._end = ""
        while any(name.endswith((f".f16{self._end}", f".f32{self._end}")) for name in tensors):
            self._end += "_"

    def half_name(self, name: str) -> str:
        return f"{name}.f16{self._end}"

    def float_name(self, name: str) -> str:
        return f"{name}.f32{self._end}"

    def finish(self, name: str) -> None:
        """Convert an output of the model, once."""
        if name not in self.finished:
            self.finished.add(name)
            self.convert(self.half_name(name), name)

    def half_constant(self, name: str) -> str:
        new = self.half_name(name)
        if new not in self.constants:
            self.constants[new] = self.constants[name].astype(np.float16)
            self.tensors[new] = replace(_as_half(self.tensors[name]), name=new)
        return new

    def converted(self, name: str, new: str, layer: str) -> str:
        """``name`` in the other type, converted where it is needed first."""
        if new not in self.tensors:
            spec = self.tensors[name]
            self.tensors[new] = replace(spec, name=new, dtype="f32" if spec.dtype == "f16" else "f16")
            self.convert(name, new, layer)
        return new

    def convert(self, name: str, new: str, layer: str = "") -> None:
        size = self.tensors[name].size
        self.calls.append(OpCall(f"{new}.convert", "convert", (name,), (new,), {"size": size}, layer or new))


def _as_half(spec: TensorSpec) -> TensorSpec:
    return replace(spec, dtype="f16") if spec.dtype == "f32" else spec


def _with_halves(call: OpCall) -> OpCall:
    """What changes but for the types: ``fill`` writes the bits of a number."""
    if call.op == "fill":
        bits = np.array([call.attrs["value"]], np.uint32).view(np.float32).astype(np.float16)
        return replace(call, attrs={**call.attrs, "value": int(bits.view(np.uint16)[0])})
    return call
