"""ir.Model -> LoweredGraph: the last stage that knows ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from edgesparse.errors import EdgeSparseError, InputError, UnsupportedError
from edgesparse.ops import OPERATORS, Lowering, Unsupported
from edgesparse.types import DTYPES, Array, LoweredGraph, Node, OpCall, TensorSpec, dtype_name

# What one address space of WebAssembly or of a small board may hold, with room for the rest.
LARGEST_TENSOR_BYTES = 2**31 - 1
_ATTRS_IGNORED = frozenset({"doc_string"})


def lower(model: ir.Model) -> LoweredGraph:
    """Turn an optimised model with static shapes into calls of contracts.

    Raises:
        UnsupportedError: every node that cannot be lowered, each with shapes and a way out.
        InputError: a tensor without a static shape or with a type no kernel knows.
    """
    out = Lowering()
    problems = list(_lower_nodes(model, out))
    if problems and all(isinstance(p, InputError) for p in problems):
        raise problems[0]  # it is the file or a shape; the others mostly follow from the first
    if problems:
        raise UnsupportedError(problems, where=model.graph.name or "model")
    return _finish(model, out)


def unsupported(model: ir.Model) -> list[EdgeSparseError]:
    """What `lower` would refuse, without raising: one entry per node, in graph order."""
    return list(_lower_nodes(model, Lowering()))


def _lower_nodes(model: ir.Model, out: Lowering) -> Iterator[EdgeSparseError]:
    graph = model.graph
    constants: dict[str, Array] = {}
    for name, value in graph.initializers.items():
        if value.const_value is None:
            raise InputError("a weight has no data", where=str(name))
        array = value.const_value.numpy()
        constants[name] = array
        try:
            spec = TensorSpec(name, tuple(array.shape), dtype_name(array.dtype))
        except (KeyError, TypeError):
            continue  # reported by the node that reads it
        out.tensors[name] = spec
        out.constants[name] = array
    for graph_input in graph.inputs:
        spec_or_error = _spec(graph_input, f"input '{graph_input.name}'")
        if isinstance(spec_or_error, EdgeSparseError):
            yield spec_or_error
        else:
            out.tensors[spec_or_error.name] = spec_or_error
    for index, node in enumerate(graph):
        error = _lower_node(node, index, model, constants, out)
        if error is not None:
            yield error


def _lower_node(
    node: ir.Node, index: int, model: ir.Model, constants: dict[str, Array], out: Lowering
) -> EdgeSparseError | None:
    name = node.name or f"{node.op_type}_{index}"
    shapes = " ".join(_shape_text(v) for v in node.inputs if v is not None)
    where = f"{node.op_type} '{name}' ({shapes})"
    domain = "" if node.domain == "ai.onnx" else node.domain
    operator = OPERATORS.get((domain, node.op_type))
    if operator is None:
        full = f"{domain}::{node.op_type}" if domain else node.op_type
        return Unsupported(
            f"operator {full} is not supported", where=where,
            hint="see docs/operators.md for what is; rewrite this part of the model before exporting",
        )  # fmt: skip
    inputs: list[TensorSpec | None] = []
    for value in node.inputs:
        if value is None:
            inputs.append(None)
            continue
        spec = out.tensors.get(value.name or "") or _spec(value, where)
        if isinstance(spec, EdgeSparseError):
            return spec
        inputs.append(spec)
    declared = []
    for value in node.outputs:
        if not value.name:
            continue
        spec = _spec(value, where)
        if isinstance(spec, EdgeSparseError):
            return spec
        declared.append(spec)
    view = Node(
        name, node.op_type, domain, model.opset_imports.get(node.domain, 1), tuple(inputs), tuple(declared),
        {k: _attribute(a) for k, a in node.attributes.items() if k not in _ATTRS_IGNORED}, constants,
    )  # fmt: skip
    for spec in declared:
        out.tensors[spec.name] = spec
    try:
        ruled = operator.shape(view)
        for spec, shape in zip(declared, ruled, strict=False):
            if tuple(shape) != spec.shape:
                return InputError(
                    f"the model declares shape {spec.shape} for '{spec.name}', the operator gives {tuple(shape)}",
                    where=where, hint="the file's shapes are wrong, or --shape does not fit the model",
                )  # fmt: skip
        operator.lower(view, out)
    except EdgeSparseError as error:
        return error
    return None


def _spec(value: ir.Value, where: str) -> TensorSpec | EdgeSparseError:
    name = value.name or "?"
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        return Unsupported(
            f"'{name}' is a {type(value.type).__name__.removesuffix('Type').lower()}, not a tensor", where=where,
            hint="rewrite this part of the model before exporting",
        )  # fmt: skip
    if value.shape is None or any(not isinstance(d, int) for d in value.shape):
        return InputError(
            f"tensor '{name}' has no static shape ({_shape_text(value)})", where=where,
            hint="give every input a fixed shape: --shape NAME=1,3,224,224",
        )  # fmt: skip
    if value.dtype is None:
        return InputError(f"tensor '{name}' has no type", where=where, hint="run onnx.shape_inference on the file")
    try:
        dtype = dtype_name(value.dtype.numpy())
    except (KeyError, TypeError):
        return Unsupported(
            f"tensor '{name}' is {value.dtype.name}; f32, i64, i32, i8, u8 and bool are supported", where=where,
            hint="export the model in float32",
        )  # fmt: skip
    spec = TensorSpec(name, tuple(d for d in value.shape if isinstance(d, int)), dtype)
    bytes_ = prod(spec.shape) * DTYPES[dtype].itemsize  # not spec.bytes, which is 64 bits wide
    if bytes_ > LARGEST_TENSOR_BYTES:
        return Unsupported(
            f"tensor '{name}' would have {bytes_} bytes; the largest supported has {LARGEST_TENSOR_BYTES}", where=where,
            hint="give a smaller shape: --shape NAME=1,3,224,224",
        )  # fmt: skip
    return spec


def _shape_text(value: ir.Value) -> str:
    return "?" if value.shape is None else "x".join(str(d) for d in value.shape) or "scalar"


def _attribute(attribute: ir.Attr) -> Any:
    value = attribute.value
    if isinstance(value, ir.TensorProtocol):
        return value.numpy()
    return value


def _check_outputs(inputs: tuple[str, ...], outputs: tuple[str, ...], out: Lowering) -> None:
    problems: list[EdgeSparseError] = []
    for index, name in enumerate(outputs):
        what = ""
        if name in outputs[:index]:
            what = "is listed twice"
        elif name in inputs:
            what = "is also an input of the model"
        elif name not in out.tensors:
            what = "is a constant of a type that no kernel knows"
        if what:
            problems.append(
                Unsupported(f"output '{name}' {what}", where="outputs", hint="remove it, or put an Identity before it")
            )
    if problems:
        raise UnsupportedError(problems)


def _finish(model: ir.Model, out: Lowering) -> LoweredGraph:
    """Names the outputs; copies those that are a constant, or the same bytes as an input or another output.

    Raises:
        UnsupportedError: outputs that are inputs, or listed twice.
    """
    graph = model.graph
    inputs = tuple(v.name or "" for v in graph.inputs)
    outputs = tuple(v.name or "" for v in graph.outputs)
    _check_outputs(inputs, outputs, out)
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
