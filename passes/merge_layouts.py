"""Chains of Reshape and Transpose become at most one Transpose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.passes.match import constant, is_op, new_initializer, private, shape
from edgesparse.types import Shape

VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")


@dataclass(frozen=True, slots=True)
class Atom:
    """A part of a dimension of the source: ``size`` steps of ``stride`` elements."""

    size: int
    stride: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tensor's elements lie in ``source``: ``atoms`` from the slowest to the fastest, none of size 1."""

    source: ir.Value
    atoms: tuple[Atom, ...]

    @classmethod
    def of(cls, source: ir.Value, dims: Shape) -> Layout:
        return cls(source, tuple(Atom(d, prod(dims[i + 1 :])) for i, d in enumerate(dims) if d != 1))

    def grouped(self, dims: Shape) -> list[list[Atom]] | None:
        """The atoms of each dimension of a tensor of shape ``dims``, or None where an atom cannot be split so."""
        left, groups = list(self.atoms), []
        for d in dims:
            group: list[Atom] = []
            while d > 1:
                atom = left.pop(0)
                if d % atom.size:
                    if atom.size % d:
                        return None
                    inner = atom.size // d
                    left.insert(0, Atom(inner, atom.stride))
                    atom = Atom(d, atom.stride * inner)
                group.append(atom)
                d //= atom.size
            groups.append(group)
        return groups

    def then(self, node: ir.Node) -> Layout | None:
        """The layout behind ``node``, whose input has this one."""
        if is_op(node, *VIEWS):
            return self
        dims, perm = shape(node.inputs[0]), permutation(node)
        groups = None if dims is None else self.grouped(dims)
        if groups is None or perm is None:
            return None
        return replace(self, atoms=tuple(atom for p in perm for atom in groups[p])).merged()

    def merged(self) -> Layout:
        """Neighbours that are neighbours in the source as well become one atom."""
        atoms: list[Atom] = []
        for atom in self.atoms:
            if atoms and atoms[-1].stride == atom.size * atom.stride:
                atoms[-1] = Atom(atoms[-1].size * atom.size, atom.stride)
            else:
                atoms.append(atom)
        return replace(self, atoms=tuple(atoms))

    @property
    def straight(self) -> bool:
        """True when no element moves."""
        return len(self.atoms) < 2


class MergeLayouts(ir.passes.InPlacePass):
    """Replace a chain of Reshape, Flatten, Squeeze, Unsqueeze and Transpose by ``Reshape(Transpose(Reshape(x)))``.

    Each dimension of ``x`` is split into the factors that the chain moves about; together the chain permutes them.
    A Reshape that changes nothing is left out, and so is a Transpose that moves no data, because the dimensions it
    exchanges have size 1 or come back to where they were. Saves one copy of ``x`` for each Transpose that goes.

    Needs static shapes. A value in the chain with other readers stays; the chain is replaced from where that leaves
    fewer Transposes, or as many and fewer nodes. Two Transposes that cut dimensions across each other stay:
    ``(2, 3) -> (3, 2) -> (2, 3) -> (3, 2)``. The result is standard ONNX.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in reversed(list(model.graph)):  # the ends of chains before what is inside them
            if node.graph is not None and is_op(node, "Transpose", *VIEWS):
                modified |= _merge(model.graph, node)
        return ir.passes.PassResult(model, modified)


def permutation(node: ir.Node) -> tuple[int, ...] | None:
    """The permutation of a Transpose with known rank."""
    found, x = node.attributes.get("perm"), node.inputs[0]
    if found is not None:
        return tuple(int(p) for p in found.as_ints())
    return None if x is None or x.shape is None else tuple(range(len(x.shape)))[::-1]


def _merge(graph: ir.Graph, end: ir.Node) -> bool:
    target = shape(end.outputs[0])
    if target is None or prod(target) == 0:
        return False
    best, cost = None, (0, 0)
    chain: list[ir.Node] = []
    saved = (0, 0)  # Transposes and nodes that nobody else needs
    node: ir.Node | None = end
    while node is not None and is_op(node, "Transpose", *VIEWS):
        source = node.inputs[0]
        dims = shape(source)
        if source is None or dims is None or constant(source) is not None:
            break
        alone = not chain or (saved[1] == len(chain) and private(node.outputs[0], chain[:1]))
        chain.insert(0, node)
        if alone:
            saved = (saved[0] + is_op(node, "Transpose"), saved[1] + 1)
        layout: Layout | None = Layout.of(source, dims)
        for step in chain:
            layout = None if layout is None else layout.then(step)
        steps = None if layout is None else _steps(layout, dims, target)
        if steps is not None:
            nodes = len(steps) or int(end.outputs[0].is_graph_output())
            found = (sum(len(s) == 2 for s in steps) - saved[0], nodes - saved[1])
            if found < cost:
                best, cost = (source, steps), found
        node = source.producer()
    if best is None:
        return False
    _replace(graph, end, *best)
    return True


_Step = tuple[Shape] | tuple[Shape, Shape]  # the shape of a Reshape, or the shape and permutation of a Transpose


def _steps(layout: Layout, dims: Shape, target: Shape) -> list[_Step] | None:
    """The nodes that lay out a source of shape ``dims`` as ``layout`` says, in shape ``target``."""
    layout = layout.merged()
    if layout.straight:
        return [] if dims == target else [(target,)]
    # the atoms in the order of the source, and the same as dimensions of the target or the source where they fit
    order = sorted(range(len(layout.atoms)), key=lambda i: -layout.atoms[i].stride)
    before = tuple(layout.atoms[i].size for i in order)
    perm = tuple(order.index(i) for i in range(len(order)))
    for whole in (_on_source(layout, dims), _on_target(layout, target)):
        if whole is not None:
            before, perm = whole
            break
    after = tuple(before[p] for p in perm)
    steps: list[_Step] = [] if before == dims else [(before,)]
    steps.append((after, perm))
    return steps if after == target else [*steps, (target,)]


def _on_source(layout: Layout, dims: Shape) -> tuple[Shape, Shape] | None:
    """(shape, permutation) of a Transpose of the source as it is."""
    stride = {prod(dims[i + 1 :]): i for i, d in enumerate(dims) if d != 1}
    perm: list[int] = []
    for atom in layout.atoms:
        size, fastest = atom.size, atom.stride
        axes: list[int] = []
        while size > 1:
            axis = stride.get(fastest)
            if axis is None or size % dims[axis]:
                return None
            axes.insert(0, axis)
            size, fastest = size // dims[axis], fastest * dims[axis]
        perm += axes
    ones = [i for i, d in enumerate(dims) if d == 1]
    return dims, (*(i for i in ones if i < min(perm)), *perm, *(i for i in ones if i >= min(perm)))


def _on_target(layout: Layout, target: Shape) -> tuple[Shape, Shape] | None:
    """(shape, permutation) of a Transpose whose result is the target as it is."""
    groups = layout.grouped(target)
    if groups is None or any(len(Layout(layout.source, tuple(g)).merged().atoms) > 1 for g in groups):
        return None
    first = next(i for i, g in enumerate(groups) if g)
    # dimensions of size 1 stay where they are: leading ones lead, the others follow
    key = [(0, -g[-1].stride) if g else (-1 if i < first else 1, i) for i, g in enumerate(groups)]
    order = sorted(range(len(groups)), key=lambda i: key[i])
    return tuple(target[i] for i in order), tuple(order.index(i) for i in range(len(order)))


def _replace(graph: ir.Graph, end: ir.Node, source: ir.Value, steps: list[_Step]) -> None:
    value, old = source, end.outputs[0]
    name, label = old.name, end.name
    for step in steps:
        dims = step[0]
        out = ir.Value(shape=ir.Shape(dims), type=old.type)
        if len(step) == 2:
            node = ir.Node("", "Transpose", [value], [ir.AttrInt64s("perm", list(step[1]))], outputs=[out])
        else:
            node = ir.Node("", "Reshape", [value, _shape(graph, dims)], outputs=[out])
        graph.insert_before(end, node)
        value = out
    if value is source and old.is_graph_output():  # an output keeps its own name
        value = ir.Value(shape=old.shape, type=old.type)
        graph.insert_before(end, ir.Node("", "Identity", [source], outputs=[value]))
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    last = value.producer()
    gone: ir.Node | None = end
    while gone is not None and not gone.outputs[0].uses() and not gone.outputs[0].is_graph_output():
        before = gone.inputs[0]
        graph.remove(gone, safe=True)
        gone = None if before is None or before is source else before.producer()
    if last is not None and value is not source:
        value.name, last.name = name, label


def _shape(graph: ir.Graph, dims: Shape) -> ir.Value:
    """The initializer of a shape, shared where there is one already."""
    name = "shape_" + "x".join(map(str, dims))
    found = graph.initializers.get(name)
    array = constant(found)
    wanted = np.array(dims, np.int64)
    if found is not None and array is not None and array.dtype == np.int64 and np.array_equal(array, wanted):
        return found
    return new_initializer(graph, name, wanted)
