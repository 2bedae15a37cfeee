"""Cases: one call of a contract with its inputs. Made from an ONNX node by `lowered`, or by hand by `direct`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgesparse.ops import CONTRACTS, OPERATORS, Lowering
from edgesparse.types import DTYPES, Array, Attr, LoweredGraph, Node, OpCall, TensorSpec

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
"""Lengths around every vector width and tile."""

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 3.4e38, -3.4e38, 1.0, -1.0], np.float32)


@dataclass(frozen=True)
class Case:
    """``values`` are the inputs of ``call`` by name; ``constants`` those of them that a binding may pack."""

    label: str
    call: OpCall
    tensors: Mapping[str, TensorSpec]
    values: Mapping[str, Array]
    constants: frozenset[str]

    @property
    def attrs(self) -> dict[str, Any]:
        return dict(self.call.attrs)

    @property
    def inputs(self) -> list[Array]:
        return [self.values[name] for name in self.call.inputs]

    @property
    def outputs(self) -> list[TensorSpec]:
        return [self.tensors[name] for name in self.call.outputs]

    @property
    def graph(self) -> LoweredGraph:
        """The call as a graph of its own, which is what selection works on."""
        constants = {name: self.values[name] for name in self.constants}
        free = tuple(dict.fromkeys(name for name in self.call.inputs if name not in constants))
        return LoweredGraph(self.tensors, (self.call,), constants, free, self.call.outputs)

    def reference(self, inputs: Sequence[Array] | None = None, **attrs: Attr) -> list[Array]:
        """What the contract's NumPy reference computes; for error bounds with other inputs or attributes."""
        contract = CONTRACTS[self.call.op]
        with np.errstate(all="ignore"):
            return contract.reference(inputs or self.inputs, {**self.call.attrs, **attrs}, self.outputs)


def direct(
    op: str, inputs: Sequence[Array], outputs: Sequence[tuple[Sequence[int], str]], *, constants: Sequence[int] = (),
    label: str = "", **attrs: Attr,
) -> Case:  # fmt: skip
    """A case of contract ``op``; ``outputs`` are (shape, dtype), ``constants`` indices into ``inputs``."""
    names = [f"in{i}" for i in range(len(inputs))]
    specs = [TensorSpec(n, tuple(x.shape), _dtype(x)) for n, x in zip(names, inputs, strict=True)]
    out = [TensorSpec(f"out{i}", tuple(shape), dtype) for i, (shape, dtype) in enumerate(outputs)]
    call = OpCall(op, op, tuple(names), tuple(s.name for s in out), attrs, "case")
    text = label or " ".join([*map(_shape, specs), *(f"{k}={v}" for k, v in attrs.items())])
    values = {name: np.array(x, order="C") for name, x in zip(names, inputs, strict=True)}
    known = frozenset(names[i] for i in constants)
    return Case(text, call, {s.name: s for s in (*specs, *out)}, values, known)


def lowered(
    op_type: str, *inputs: Array | None, constants: Sequence[int] = (), outputs: int = 1, dtype: str = "",
    domain: str = "", version: int = 18, label: str = "", isas: tuple[str, ...] = (), **attrs: Any,
) -> list[Case]:  # fmt: skip
    """The cases of every call that the ONNX node lowers to; empty when it is only a view.

    ``constants`` are the indices of inputs known at compile time, ``dtype`` that of the outputs (default: of
    the first input). Inputs of a second call are what the references of the calls before it computed. ``isas``: the
    instruction sets of the target, which some operators ask for.
    """
    specs = [None if x is None else TensorSpec(f"in{i}", tuple(x.shape), _dtype(x)) for i, x in enumerate(inputs)]
    values = {s.name: np.array(x, order="C") for s, x in zip(specs, inputs, strict=True) if s and x is not None}
    known = {f"in{i}": values[f"in{i}"] for i in constants}
    first = next(s for s in specs if s is not None)
    out = tuple(TensorSpec(f"out{i}", (), dtype or first.dtype) for i in range(outputs))
    node = Node("node", op_type, domain, version, tuple(specs), out, attrs, known)
    operator = OPERATORS[(domain, op_type)]
    out = tuple(replace(s, shape=tuple(shape)) for s, shape in zip(out, operator.shape(node), strict=False))
    node = replace(node, outputs=out)
    lowering = Lowering(isas=isas)
    lowering.tensors.update({s.name: s for s in (*specs, *out) if s})
    lowering.constants.update(known)
    operator.lower(node, lowering)
    text = label or " ".join([op_type, *(_shape(s) for s in specs if s), *(f"{k}={v}" for k, v in attrs.items())])
    return list(_cases(text, lowering, {**values, **lowering.constants}))


def _cases(text: str, lowering: Lowering, values: dict[str, Array]) -> list[Case]:
    found = []
    for call in lowering.calls:
        specs = [lowering.tensors[name] for name in call.outputs]
        given = {name: values[name] for name in call.inputs}
        case = Case(text, call, lowering.tensors, given, frozenset(n for n in given if n in lowering.constants))
        results = case.reference()
        for spec, result in zip(specs, results, strict=True):
            if CONTRACTS[call.op].partial and spec.name in values:  # other calls wrote other elements
                untouched = np.frombuffer(b"\xff" * spec.bytes, DTYPES[spec.dtype]).reshape(spec.shape)
                written = bits(result) != bits(untouched)
                result = np.where(written, result, values[spec.name])
            values[spec.name] = result.astype(DTYPES[spec.dtype]).reshape(spec.shape)
        if call.op != "view":
            found.append(case)
    return found


def padded(case: Case, pitch: int) -> Case:
    """``case`` with the planes of all tensors that may be padded ``pitch`` elements apart, zeros between them."""
    tensors, values, attrs = dict(case.tensors), dict(case.values), dict(case.call.attrs)
    for name, attribute in CONTRACTS[case.call.op].pitches(case.call):
        spec = case.tensors[name]
        plane = int(np.prod(spec.shape[2:]))
        apart = plane + pitch
        tensors[name], attrs[attribute] = replace(spec, pitch=apart), apart
        if name in values:
            x = values[name].reshape(*spec.shape[:2], plane)
            values[name] = np.pad(x, ((0, 0), (0, 0), (0, pitch)))
    call = replace(case.call, attrs=attrs)
    return replace(case, label=f"{case.label}, planes {pitch} apart", call=call, tensors=tensors, values=values)


def halved(case: Case) -> Case:
    """``case`` with activations and weights rounded to halves, as `edgesparse.precision` makes it."""
    packs = CONTRACTS[case.call.op].packs
    tensors, values = dict(case.tensors), dict(case.values)
    for name in (*case.call.inputs, *case.call.outputs):
        spec, packed = case.tensors[name], packs and name in case.constants
        if spec.dtype != "f32":
            continue
        if not packed:
            tensors[name] = replace(spec, dtype="f16")
        if name in values and not (packed and name != case.call.inputs[1]):  # bias and slope stay as they are
            with np.errstate(over="ignore"):
                half = values[name].astype(np.float16)
            values[name] = half.astype(np.float32) if packed else half
    return replace(case, label=f"halves, {case.label}", tensors=tensors, values=values)


def _dtype(x: Array) -> str:
    return next(name for name, dtype in DTYPES.items() if dtype == x.dtype)


def bits(x: Array) -> Array:
    """The bit patterns of ``x`` as unsigned integers of the same shape."""
    return np.ascontiguousarray(x).reshape(x.shape).view(f"u{x.dtype.itemsize}")


def special(random: np.random.Generator, *shape: int) -> Array:
    """Normal numbers with infinities, NaN, zeros, subnormal and huge numbers among them."""
    x = random.standard_normal(shape).astype(np.float32)
    places = random.random(shape) < 0.3
    return np.where(places, random.choice(SPECIAL, shape), x).astype(np.float32)


def anything(random: np.random.Generator, dtype: str, *shape: int) -> Array:
    """Any bit pattern of ``dtype`` (bool: 0 or 1)."""
    if dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    size = DTYPES[dtype].itemsize
    return np.frombuffer(random.bytes(size * int(np.prod(shape))), DTYPES[dtype]).reshape(shape)


def unbounded(random: np.random.Generator, *shape: int) -> Array:
    """Normal numbers, one in ten NaN or infinite: sums of them have the same places in any order."""
    places = random.random(shape) < 0.1
    return np.where(places, random.choice(SPECIAL[:3], shape), normal(random, *shape)).astype(np.float32)


def normal(random: np.random.Generator, *shape: int) -> Array:
    return random.standard_normal(shape).astype(np.float32)


PATTERNS = ("dense", "unstructured", "rows:16", "rows:8", "rows:4", "rows:2", "zero", "empty rows")


def pruned(random: np.random.Generator, pattern: str, *shape: int) -> Array:
    """Weights (outputs, inputs, ...) of which a pattern is zero; ``rows:n`` keeps n neighbouring outputs together."""
    w = normal(random, *shape)
    w[w == 0] = 1
    flat = w.reshape(shape[0], -1)
    if pattern == "unstructured":
        flat[random.random(flat.shape) < 0.8] = 0
    elif pattern == "zero":
        flat[:] = 0
    elif pattern == "empty rows":
        flat[random.random(len(flat)) < 0.5] = 0
        flat[-1] = 0
    elif pattern.startswith("rows:"):
        rows = int(pattern[5:])
        keep = random.random((-(-len(flat) // rows), flat.shape[1])) < 0.4
        flat[:] = np.where(np.repeat(keep, rows, axis=0)[: len(flat)], flat, 0)
    return w


def _shape(spec: TensorSpec) -> str:
    return f"{spec.dtype}[{'x'.join(map(str, spec.shape))}]"
