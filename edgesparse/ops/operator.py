"""What an operator is: a shape rule, a lowering to C calls, and for each C call a NumPy reference.

Every file beside this one registers its operators with ``@onnx_operator`` and ``contract``;
``edgesparse.ops`` imports them all, so that adding an operator is adding a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from edgesparse.errors import EdgeSparseError, InputError
from edgesparse.types import Array, Attr, Binding, Machine, Node, OpCall, Shape, TensorSpec


class Unsupported(EdgeSparseError):
    """Raised by a lowering: ``what`` says which attribute or shape, ``hint`` the way out."""

    exit_code = 3


@dataclass
class Lowering:
    """Collects what the lowering of one graph produces. Handed to every operator's ``lower``.

    ``isas`` are the instruction sets of the target, none where it is not known.
    """

    tensors: dict[str, TensorSpec] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    calls: list[OpCall] = field(default_factory=list)
    isas: tuple[str, ...] = ()

    def call(
        self,
        node: Node,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        **attrs: Attr,
    ) -> None:
        """Append a call of the contract ``op``; ``attrs`` are its C scalars by name."""
        name = f"{node.name}.{len(self.calls)}"
        self.calls.append(OpCall(name, op, tuple(inputs), tuple(outputs), attrs, node.name))

    def view(self, node: Node, source: str, out: str) -> None:
        """``out`` is the same bytes as ``source`` under another shape: no code, no copy.

        Raises:
            InputError: they have different numbers of elements.
        """
        x, y = self.tensors[source], self.tensors[out]
        if x.size != y.size:
            raise InputError(
                f"{x.size} elements of shape {list(x.shape)} cannot become {y.size} of shape {list(y.shape)}",
                where=f"{node.op_type} '{node.name}'", hint="the file is damaged, or --shape does not fit the model",
            )  # fmt: skip
        self.call(node, "view", [source], [out])

    def temporary(self, node: Node, shape: Shape, dtype: str = "f32") -> str:
        """A new activation tensor; returns its name."""
        name = f"{node.name}.t{len(self.tensors)}"
        self.tensors[name] = TensorSpec(name, shape, dtype)
        return name

    def constant(self, node: Node, value: Array) -> str:
        """A new constant that ends up in weights.bin; returns its name."""
        from edgesparse.types import dtype_name

        name = f"{node.name}.c{len(self.constants)}"
        self.constants[name] = value
        self.tensors[name] = TensorSpec(name, tuple(value.shape), dtype_name(value.dtype))
        return name


SPAN, STRIP = 64, 16
"""Elements of an element-wise piece (ES_SPAN in es.h); columns of a piece of what works on columns."""


def spans(size: int) -> int:
    return -(-size // SPAN)


def spans_of_runs(attrs: Mapping[str, Any]) -> int:
    """Four loops ``dims``: the innermost one is cut."""
    return int(prod(attrs["dims"][:3])) * spans(attrs["dims"][3])


def strips(attrs: Mapping[str, Any]) -> int:
    """Of (outer, n, inner), where all n of a column belong together."""
    return int(attrs["outer"]) * -(-int(attrs["inner"]) // STRIP)


Tensors = Mapping[str, TensorSpec]
Constants = Mapping[str, Array]
Reference = Callable[[Sequence[Array], Mapping[str, Attr], Sequence[TensorSpec]], list[Array]]


@dataclass(frozen=True)
class Contract:
    """A lowered operator: what a C kernel ``es_<op>_<dtype>`` must compute.

    ``inputs`` and ``outputs`` are the C parameter names of the tensors, in the order in which
    an ``OpCall`` lists them; the call's attributes are the remaining parameters by name.
    ``reference(inputs, attrs, output_specs)`` computes the same with NumPy.
    ``in_place``: indices of inputs whose buffer the output may overwrite when sizes agree.
    ``bind`` (optional) packs weights and offers several kernels, cheapest chosen by `select`.
    ``dtype_from``: which input's dtype names the kernel (``es_<op>_<dtype>``).
    ``partial``: a call may write a part of its output; other partial calls write the rest.
    ``items(attrs)``: into how many pieces a call can be cut for threads. Its kernels, where they have the parameters
    ``begin`` and ``end``, do pieces begin..end-1. (Kernels of contracts with a ``bind`` of their own may say so there.)
    ``packs``: its ``bind`` packs all constants that it reads; they are f32 where activations are f16, too.
    ``pitches(call)``: (tensor, attribute) for every tensor whose planes may lie further apart than they are
    long; the attribute is the distance in elements. Padding that is written holds finite values.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reference: Reference
    in_place: tuple[int, ...] = ()
    bind: Callable[[OpCall, Tensors, Constants, Machine], list[Binding]] | None = None
    dtype_from: int = 0
    partial: bool = False
    packs: bool = False
    items: Callable[[Mapping[str, Any]], int] | None = None
    pitches: Callable[[OpCall], list[tuple[str, str]]] = lambda call: []


@dataclass(frozen=True)
class Operator:
    """An ONNX operator. ``shape(node)`` gives its output shapes; ``lower`` emits its calls.

    For docs/operators.md: ``limits`` is one sentence, what of the ONNX operator is refused; ``kernels`` are the names
    in the kernel table (``op=`` of the C files) that it may run, none where it only renames bytes.
    """

    name: str
    shape: Callable[[Node], list[Shape]]
    lower: Callable[[Node, Lowering], None]
    limits: str = ""
    domain: str = ""
    kernels: tuple[str, ...] = ()


OPERATORS: dict[tuple[str, str], Operator] = {}
CONTRACTS: dict[str, Contract] = {}


def register(*things: Operator | Contract) -> None:
    for thing in things:
        if isinstance(thing, Operator):
            key = (thing.domain, thing.name)
            if key in OPERATORS:
                raise ValueError(f"operator {key} registered twice")
            OPERATORS[key] = thing
        else:
            if thing.op in CONTRACTS:
                raise ValueError(f"contract {thing.op} registered twice")
            CONTRACTS[thing.op] = thing
