"""What a model holds and what compiling it would do, without compiling it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.errors import EdgeSparseError, InputError
from edgesparse.passes.weights import WEIGHTED
from edgesparse.types import Array


@dataclass(frozen=True, slots=True)
class Port:
    name: str
    shape: tuple[int | str, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class WeightedLayer:
    """A node with a constant weight: ``zeros`` is the share of exact zeros, ``macs`` are counted dense.

    ``weight`` is the name of the initializer, "" for another constant.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    zeros: float
    macs: int
    weight: str


@dataclass(frozen=True, slots=True)
class LayoutChange:
    """A Transpose that is compiled: it moves data, and no pass could remove it."""

    name: str
    permutation: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """``operators`` as in the file, ``simplified`` as they are compiled; ``macs`` of one inference.

    ``sparsity`` is what `sparsify` recorded: layer -> pattern, sparsity, zeros. ``shapes_needed`` are the --shape
    options without which shapes stay unknown: then there are no MACs and no layout changes, and of what is
    unsupported only operators are found, not their limits.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: dict[str, int]
    operators: dict[str, int]
    simplified: dict[str, int]
    parameters: int
    zeros: float
    macs: int
    layers: tuple[WeightedLayer, ...]
    layout_changes: tuple[LayoutChange, ...]
    unsupported: tuple[EdgeSparseError, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    metadata: dict[str, str]
    sparsity: dict[str, dict[str, str | float]]
    shapes_needed: tuple[str, ...]


def inspect(model: ir.Model) -> Inspection:
    """Look at ``model``, which is not changed. A symbolic batch is bound to 1, as for compiling."""
    from edgesparse.importer import bind_default_shapes
    from edgesparse.lower import unsupported
    from edgesparse.passes.pipeline import optimise, simplify
    from edgesparse.sparsity.record import METADATA_KEY, recorded

    inputs = tuple(_port(v) for v in model.graph.inputs if v.name not in model.graph.initializers)
    outputs = tuple(_port(v) for v in model.graph.outputs)
    operators = _count(model)
    warnings = weight_warnings(model)
    model = model.clone()
    needed = tuple(_shapes_needed(model))
    notes = () if needed else tuple(bind_default_shapes(model))
    simplify(model)
    simplified = _count(model)
    layers = tuple(_weighted(model))
    weights = [w for v in model.graph.initializers.values() if (w := _floats(v)) is not None]
    parameters = sum(w.size for w in weights)
    nonzero = sum(int(np.count_nonzero(w)) for w in weights)
    changes: tuple[LayoutChange, ...] = ()
    if needed:
        problems = tuple(_unknown_operators(model))
    else:
        optimise(model)
        changes = tuple(_layout_changes(model))
        problems = tuple(unsupported(model))
    try:
        sparsity = recorded(model)
    except InputError:  # another program's, or an older version's: shown as it is
        sparsity = {}
    return Inspection(
        inputs=inputs, outputs=outputs, opset={k or "ai.onnx": v for k, v in model.opset_imports.items()},
        operators=operators, simplified=simplified, parameters=parameters,
        zeros=1 - nonzero / parameters if parameters else 0.0, macs=sum(x.macs for x in layers), layers=layers,
        layout_changes=changes, unsupported=problems, warnings=warnings, notes=notes,
        metadata={k: str(v) for k, v in model.metadata_props.items() if not (sparsity and k == METADATA_KEY)},
        sparsity=sparsity, shapes_needed=needed,
    )  # fmt: skip


def weighted_layers(model: ir.Model) -> tuple[WeightedLayer, ...]:
    """The layers whose weights are constant, in graph order, ``model`` unchanged.

    MACs are those of batch 1 where the batch is symbolic, and 0 where another dimension is.
    """
    from edgesparse.importer import bind_default_shapes

    if not any(_shapes_needed(model)):
        model = model.clone()
        bind_default_shapes(model)
    return tuple(_weighted(model))


def _shapes_needed(model: ir.Model) -> Iterator[str]:
    """``NAME=1,3,?``-like options for every input of which more than the batch is unknown."""
    for value in model.graph.inputs:
        dims = None if value.shape is None else list(value.shape)
        if dims is None:
            yield f"{value.name}=1,3,224,224"
        elif any(not isinstance(d, int) for d in dims[1:]):
            yield f"{value.name}=" + ",".join(str(d) if isinstance(d, int) else "1" for d in dims)


def _unknown_operators(model: ir.Model) -> Iterator[EdgeSparseError]:
    from edgesparse.ops import OPERATORS

    for index, node in enumerate(model.graph):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if (domain, node.op_type) not in OPERATORS and node.op_type != "Constant":
            name = f"{domain}::{node.op_type}" if domain else node.op_type
            where = f"{node.op_type} '{node.name or f'{node.op_type}_{index}'}'"
            yield EdgeSparseError(f"operator {name} is not supported", where=where, hint="see docs/operators.md")


def _port(value: ir.Value) -> Port:
    shape = () if value.shape is None else tuple(d if isinstance(d, int) else str(d.value) for d in value.shape)
    return Port(value.name or "", shape, value.dtype.name.lower() if value.dtype is not None else "?")


def _count(model: ir.Model) -> dict[str, int]:
    names = (f"{n.domain}::{n.op_type}" if n.domain not in ("", "ai.onnx") else n.op_type for n in model.graph)
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def _floats(value: ir.Value) -> Array | None:
    tensor = value.const_value
    return tensor.numpy() if tensor is not None and tensor.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE) else None


def _weighted(model: ir.Model) -> Iterator[WeightedLayer]:
    for index, node in enumerate(model.graph):
        if node.op_type not in WEIGHTED or node.domain not in ("", "ai.onnx"):
            continue
        at = 0 if node.op_type == "MatMul" and _constant(node, 1) is None else 1
        found = _constant(node, at)
        if found is None:
            continue
        zeros = 1 - np.count_nonzero(found) / found.size if found.size else 0.0
        name, weight = node.name or f"{node.op_type}_{index}", _name(node.inputs[at])
        yield WeightedLayer(name, node.op_type, tuple(found.shape), float(zeros), _macs(node, found), weight)


def _name(value: ir.Value | None) -> str:
    return (value.name or "") if value is not None and value.is_initializer() else ""


def _constant(node: ir.Node, index: int) -> Array | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    constant = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if constant is None else constant.numpy()


def _macs(node: ir.Node, weight: Array) -> int:
    """Multiply-adds of a dense layer: every weight is used once per output position.

    Conv: ``N * Hout * Wout`` positions; ConvTranspose: ``N * Hin * Win``; Gemm and MatMul: the rows of the
    other operand.
    """
    source = node.inputs[0] if node.op_type == "ConvTranspose" else node.outputs[0]
    shape = _static(source)
    if shape is None:
        return 0
    if node.op_type in ("Conv", "ConvTranspose"):
        return shape[0] * prod(shape[2:]) * int(weight.size)
    # y (.., M, N) = x (.., M, K) w (K, N): M * N * K for each y; K is what x and w share
    data = node.inputs[0] if _constant(node, 0) is None else node.inputs[1]
    given = _static(data)
    if given is None:
        return 0
    if data is node.inputs[1]:
        inner = given[-2] if len(given) > 1 else given[0]
    elif node.op_type == "Gemm" and _transposed(node):
        inner = given[0]
    else:
        inner = given[-1]
    return prod(shape) * inner


def _transposed(node: ir.Node) -> bool:
    attribute = node.attributes.get("transA")
    return attribute is not None and attribute.as_int() != 0


def _static(value: ir.Value | None) -> tuple[int, ...] | None:
    if value is None or value.shape is None or not all(isinstance(d, int) for d in value.shape):
        return None
    return tuple(int(d) for d in value.shape if isinstance(d, int))


def _layout_changes(model: ir.Model) -> Iterator[LayoutChange]:
    for index, node in enumerate(model.graph):
        if node.op_type == "Transpose":
            shape = _static(node.inputs[0]) or ()
            attribute = node.attributes.get("perm")
            perm = tuple(attribute.as_ints()) if attribute is not None else tuple(reversed(range(len(shape))))
            moving = [p for p in perm if p >= len(shape) or shape[p] != 1]
            if moving != sorted(moving):
                yield LayoutChange(node.name or f"Transpose_{index}", perm, shape)


def weight_warnings(model: ir.Model) -> tuple[str, ...]:
    """One sentence for each weight that holds NaN or infinity: such a model compiles, but is hardly meant.

    A single infinity is: what masks are made of.
    """
    found = []
    for name, value in model.graph.initializers.items():
        array = _floats(value)
        bad = 0 if array is None else int(np.count_nonzero(~np.isfinite(array)))
        if bad and not (array is not None and array.size == 1 and np.isinf(array).all()):
            found.append(f"weight '{name}' holds {bad} NaN or infinite value{'s' if bad > 1 else ''}")
    return tuple(found)
