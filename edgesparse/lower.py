"""ir.Model -> LoweredGraph: the last stage that knows ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from edgesparse.errors import EdgeSparseError, InputError, UnsupportedError
from edgesparse.ops import OPERATORS, Lowering, Unsupported
from edgesparse.types import Array, LoweredGraph, Node, OpCall, TensorSpec, dtype_name

_ATTRS_IGNORED = frozenset({"doc_string"})


def lower(model: ir.Model) -> LoweredGraph:
    """Turn an optimised model with static shapes into calls of contracts.

    Raises:
        UnsupportedError: every node that cannot be lowered, each with shapes and a way out.
        InputError: a tensor without a static shape or with a type no kernel knows.
    """
    out = Lowering()
    problems = list(_lower_nodes(model, out))
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
    except Unsupported as error:
        return error
    return None


def _spec(value: ir.Value, where: str) -> TensorSpec | EdgeSparseError:
    name = value.name or "?"
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
    return TensorSpec(name, tuple(d for d in value.shape if isinstance(d, int)), dtype)


def _shape_text(value: ir.Value) -> str:
    return "?" if value.shape is None else "x".join(str(d) for d in value.shape) or "scalar"


def _attribute(attribute: ir.Attr) -> Any:
    value = attribute.value
    if isinstance(value, ir.TensorProtocol):
        return value.numpy()
    return value


def _finish(model: ir.Model, out: Lowering) -> LoweredGraph:
    """Names the outputs and copies those that are an input, a constant or another output."""
    graph = model.graph
    inputs = tuple(v.name or "" for v in graph.inputs)
    outputs = tuple(v.name or "" for v in graph.outputs)
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
        raise Unsupported(
            f"output '{name}' is an input or a constant of the model", where="graph outputs",
            hint="remove this output, or add an Identity node",
        )  # fmt: skip
    used = {n for c in calls for n in (*c.inputs, *c.outputs)} | set(inputs) | set(outputs)
    return LoweredGraph(
        {k: v for k, v in out.tensors.items() if k in used}, tuple(calls),
        {k: np.ascontiguousarray(v).reshape(v.shape) for k, v in out.constants.items() if k in used}, inputs, outputs,
    )  # fmt: skip
