"""ir.Model -> LoweredGraph: the last stage that knows ONNX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import onnx_ir as ir

from edgesparse.errors import EdgeSparseError, InputError, UnsupportedError
from edgesparse.kernels import find
from edgesparse.ops import CONTRACTS, OPERATORS, Lowering, Unsupported
from edgesparse.outputs import finish, output_problems
from edgesparse.types import (
    DTYPES,
    MODEL_DTYPES,
    Array,
    LoweredGraph,
    Node,
    OpCall,
    Shape,
    Target,
    TensorSpec,
    dtype_name,
)

ANY = ("scalar",)  # the instruction set that has every kernel
KNOWN = "f32, i64, i32, i8, u8 and bool"
# What one address space of WebAssembly or of a small board may hold, with room for the rest.
LARGEST_TENSOR_BYTES = 2**31 - 1
_ATTRS_IGNORED = frozenset({"doc_string"})


def lower(model: ir.Model, target: Target | None = None) -> LoweredGraph:
    """Turn an optimised model with static shapes into calls of contracts that ``target`` has kernels for.

    Raises:
        UnsupportedError: everything that cannot be lowered: operators, types, outputs, each with a way out.
        InputError: nothing but tensors without a static shape, or that do not fit each other: the first of them.
    """
    # there is no `entry` for halves: a model of them begins as if the instruction set were not known
    out = Lowering(isas=() if target is None or target.precision != "f32" else target.isas)
    problems = list(_lower(model, target, out))
    if problems and all(isinstance(p, InputError) for p in problems):
        raise problems[0]  # it is the file or a shape; the others mostly follow from the first
    if problems:
        raise UnsupportedError(problems, where=model.graph.name or "model")
    return finish(_names(model.graph.inputs), _names(model.graph.outputs), out)


def unsupported(model: ir.Model, target: Target | None = None) -> list[EdgeSparseError]:
    """What `lower` would refuse, without raising: one entry per node, in graph order, then the outputs.

    Without a ``target`` the kernels are those that every target has.
    """
    return list(_lower(model, target, Lowering()))


def _names(values: Sequence[ir.Value]) -> tuple[str, ...]:
    return tuple(value.name or "" for value in values)


def _lower(model: ir.Model, target: Target | None, out: Lowering) -> Iterator[EdgeSparseError]:
    graph = model.graph
    constants: dict[str, Array] = {}
    for name, value in graph.initializers.items():
        if value.const_value is None:
            raise InputError("a weight has no data", where=str(name))
        _add_constant(str(name), value.const_value.numpy(), constants, out)
    refused: list[EdgeSparseError] = []
    for graph_input in graph.inputs:
        spec_or_error = _spec(graph_input, f"input '{graph_input.name}'")
        if isinstance(spec_or_error, TensorSpec):
            out.tensors[spec_or_error.name] = spec_or_error
        else:
            refused.append(spec_or_error)
    nodes = list(_lower_nodes(model, target, constants, out))
    said = {problem.what for problem in nodes}
    yield from (problem for problem in refused if problem.what not in said)
    yield from nodes
    for output in graph.outputs:
        if (array := constants.get(output.name or "")) is not None and output.name not in out.tensors:
            yield Unsupported(
                f"output '{output.name}' is a constant of type {array.dtype}; {KNOWN} are supported", where="outputs",
                hint="remove it, or put a Cast before it",
            )  # fmt: skip
    yield from output_problems(_names(graph.inputs), _names(graph.outputs))


def _lower_nodes(
    model: ir.Model, target: Target | None, constants: dict[str, Array], out: Lowering
) -> Iterator[EdgeSparseError]:
    isas = ANY if target is None else target.isas
    unknown: set[str] = set()  # what refused nodes would have computed
    for index, node in enumerate(model.graph):
        found = ir.convenience.get_const_tensor(node.outputs[0]) if node.op_type == "Constant" else None
        if found is not None:  # one that is an output of the model: all others are initializers by now
            _add_constant(node.outputs[0].name or "", found.numpy(), constants, out)
            continue
        error = _lower_node(node, index, model, constants, out, isas, unknown)
        if error is not None:
            unknown.update(_names(node.outputs))
            yield error


def _add_constant(name: str, array: Array, constants: dict[str, Array], out: Lowering) -> None:
    constants[name] = array
    try:
        spec = TensorSpec(name, tuple(array.shape), dtype_name(array.dtype))
    except (KeyError, TypeError):
        return  # reported by the node that reads it
    out.tensors[name] = spec
    out.constants[name] = array


def _lower_node(
    node: ir.Node, index: int, model: ir.Model, constants: dict[str, Array], out: Lowering, isas: Sequence[str],
    unknown: set[str],
) -> EdgeSparseError | None:  # fmt: skip
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
        spec = None if value is None else out.tensors.get(value.name or "") or _spec(value, where)
        if isinstance(spec, EdgeSparseError):
            if value is None or value.name not in unknown or not isinstance(spec, InputError):
                return spec
            unknown.update(_names(node.outputs))  # it follows from what is reported already
            return None
        if spec is not None:
            out.tensors.setdefault(spec.name, spec)  # what a refused node would have computed
        inputs.append(spec)
    unshaped = tuple(TensorSpec(value.name or "", (), "f32") for value in node.outputs)
    view = Node(
        name, node.op_type, domain, model.opset_imports.get(node.domain, 1), tuple(inputs), unshaped,
        {k: _attribute(a) for k, a in node.attributes.items() if k not in _ATTRS_IGNORED}, constants,
    )  # fmt: skip
    try:
        ruled = operator.shape(view)
    except EdgeSparseError as error:
        return error
    except (ValueError, ArithmeticError, LookupError) as error:
        return InputError(f"shapes or attributes do not fit: {error}", where=where, hint="the file is damaged")
    declared = []
    for value, shape in zip(node.outputs, [*ruled, *[None] * len(node.outputs)], strict=False):
        if not value.name:
            continue
        spec = _spec(value, where, shape)
        if isinstance(spec, EdgeSparseError):
            return spec
        declared.append(spec)
    out.tensors.update({spec.name: spec for spec in declared})
    before = len(out.calls)
    try:
        operator.lower(replace(view, outputs=tuple(declared)), out)
    except EdgeSparseError as error:
        return error
    return _without_kernel(node.op_type, out.calls[before:], out, isas, where)


def _without_kernel(
    op_type: str, calls: Sequence[OpCall], out: Lowering, isas: Sequence[str], where: str
) -> Unsupported | None:
    """The first call whose type has no kernel. Contracts with a `bind` of their own have looked at it before."""
    for call in calls:
        contract = CONTRACTS[call.op]
        if call.op == "view" or contract.bind is not None:
            continue
        dtype = out.tensors[call.inputs[contract.dtype_from]].dtype
        types = [t for t in MODEL_DTYPES if all(find(f"{call.op}_{t}", isa, {}) for isa in isas)]
        if dtype in types:
            continue
        wide = "int32" if "i32" in types and dtype != "f32" else "float32"
        return Unsupported(
            f"{op_type} of {dtype}; {_enumerated(types)} supported", where=where,
            hint=f"put a Cast to {wide} before this node and one back behind it",
        )  # fmt: skip
    return None


def _enumerated(types: Sequence[str]) -> str:
    return f"{', '.join(types[:-1])} and {types[-1]} are" if len(types) > 1 else f"only {types[0]} is"


def _spec(value: ir.Value, where: str, ruled: Shape | None = None) -> TensorSpec | EdgeSparseError:
    """``value`` as it is declared; its shape may be left to ``ruled``, what the operator gives."""
    name = value.name or "?"
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        return Unsupported(
            f"'{name}' is a {type(value.type).__name__.removesuffix('Type').lower()}, not a tensor", where=where,
            hint="rewrite this part of the model before exporting",
        )  # fmt: skip
    declared = None if value.shape is None else tuple(d if isinstance(d, int) else None for d in value.shape)
    shape = ruled if ruled is not None else declared
    if shape is None or None in shape:
        return InputError(
            f"tensor '{name}' has no static shape ({_shape_text(value)})", where=where,
            hint="give every input a fixed shape: --shape NAME=1,3,224,224",
        )  # fmt: skip
    static = tuple(d for d in shape if d is not None)
    if declared is not None and (
        len(declared) != len(static) or any(d not in (None, n) for d, n in zip(declared, static, strict=True))
    ):
        return InputError(
            f"the model declares shape {declared} for '{name}', the operator gives {static}", where=where,
            hint="the file's shapes are wrong, or --shape does not fit the model",
        )  # fmt: skip
    if min(static, default=0) < 0:
        return InputError(
            f"tensor '{name}' would have the shape {list(static)}", where=where,
            hint="give a larger --shape: a window does not fit into its input",
        )  # fmt: skip
    if value.dtype is None:
        return InputError(f"tensor '{name}' has no type", where=where, hint="run onnx.shape_inference on the file")
    try:
        dtype = dtype_name(value.dtype.numpy())
    except (KeyError, TypeError):
        return Unsupported(
            f"tensor '{name}' is {value.dtype.name}; {KNOWN} are supported", where=where,
            hint="export the model in float32",
        )  # fmt: skip
    spec = TensorSpec(name, static, dtype)
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
