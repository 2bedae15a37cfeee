"""Rotary position embedding, as exporters write it out, becomes one operator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.passes.match import attribute_int, constant, is_op, new_initializer, operand, refuse

OPSET = 23
_END = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class _Turn:
    """``x`` turned by angles with these cosines and sines; ``whole``: those are there twice, for both of a pair."""

    x: ir.Value
    cos: ir.Value
    sin: ir.Value
    interleaved: bool
    whole: bool


class FuseRotary(ir.passes.InPlacePass):
    """Pairs ``(a, b)`` of a head's entries become ``(a cos - b sin, b cos + a sin)`` in one RotaryEmbedding.

    Pairs are the halves of a head, ``x * cos + rotate_half(x) * sin`` or ``cat(a cos - b sin, b cos + a sin)``, or
    neighbours, ``stack(..)`` of the two. ``x``: (batch, heads, T, size) or (batch, T, heads, size), which is transposed
    for it. The operator gets cosines and sines as (batch, T, size / 2); how they come about is not looked at, except
    that where they are as wide as ``x`` their halves must be the same.

    Does not fuse angles that differ by head, or an ``x`` of unknown rank; noted at the last node.

    Source: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding"
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            found = _halves(node) or _joined(node) or _stacked(node)
            modified |= found is not None and _fuse(model.graph, node, found)
        if modified:
            model.opset_imports[""] = max(model.opset_imports.get("", 0), OPSET)
        return ir.passes.PassResult(model, modified=modified)


def _fuse(graph: ir.Graph, root: ir.Node, found: _Turn) -> bool:
    size, rank = _last(found.x), 0 if found.x.shape is None else len(found.x.shape)
    layout = _layout(found.cos)
    if size is None or rank != 4 or layout is None or layout != _layout(found.sin):
        refuse(root, "RoPE of values not (batch, heads, T, size), or by angles that differ by head")
        return False
    if found.whole and not (_repeats(found.cos) and _repeats(found.sin)):
        refuse(root, "RoPE by angles that are not the same for both entries of a pair")
        return False

    def add(op: str, *inputs: ir.Value | None, **attributes: int | list[int]) -> ir.Value:
        node = ir.node(op, inputs, attributes=attributes)
        graph.insert_before(root, node)
        return node.outputs[0]

    def table(value: ir.Value) -> ir.Value:
        if found.whole:
            bounds = [new_initializer(graph, "rope.bound", np.array([n], np.int64)) for n in (0, size // 2, -1)]
            value = add("Slice", value, *bounds)
        for op, axis in layout.to_three:
            value = add(op, value, new_initializer(graph, "rope.axis", np.array([axis], np.int64)))
        return value

    x = add("Transpose", found.x, perm=[0, 2, 1, 3]) if layout.tokens_first else found.x
    y = add("RotaryEmbedding", x, table(found.cos), table(found.sin), interleaved=int(found.interleaved))
    y = add("Transpose", y, perm=[0, 2, 1, 3]) if layout.tokens_first else y
    old = root.outputs[0]
    y.shape, y.type, name = old.shape, old.type, old.name
    old.replace_all_uses_with(y, replace_graph_outputs=True)
    graph.remove(root, safe=True)
    y.name = name
    return True


@dataclass(frozen=True, slots=True)
class _Layout:
    """Of cosines: whether they are for (batch, T, heads, size); what makes them (batch, T, size)."""

    tokens_first: bool
    to_three: tuple[tuple[str, int], ...]


def _layout(value: ir.Value) -> _Layout | None:
    if value.shape is None:
        return None
    dims, rank = list(value.shape), len(value.shape)
    if rank == 2:
        return _Layout(False, (("Unsqueeze", 0),))
    if rank not in (3, 4):
        return None
    if dims[-2] == 1 and dims[-3] != 1:
        return _Layout(True, (("Squeeze", -2),) if rank == 4 else (("Squeeze", -2), ("Unsqueeze", 0)))
    if dims[-3] == 1:
        return _Layout(False, (("Squeeze", -3),) if rank == 4 else ())
    return None


def _halves(node: ir.Node) -> _Turn | None:
    """``x * cos + cat(-high, low) * sin``."""
    if not is_op(node, "Add"):
        return None
    for one, two in (node.inputs, node.inputs[::-1]):
        for x, cos in _factors(one):
            for turned, sin in _factors(two):
                if _is_rotate_half(turned.producer(), x):
                    return _Turn(x, cos, sin, interleaved=False, whole=True)
    return None


def _is_rotate_half(node: ir.Node | None, x: ir.Value) -> bool:
    if node is None or not _is_concat(node):
        return False
    negative = _producer(node.inputs[0])
    if negative is None or not is_op(negative, "Neg"):
        return False
    return _part(negative.inputs[0]) == (x, "high") and _part(node.inputs[1]) == (x, "low")


def _joined(node: ir.Node) -> _Turn | None:
    """``cat(a cos - b sin, b cos + a sin)`` of halves."""
    return _pairs(node.inputs[0], node.inputs[1], ("low", "high")) if _is_concat(node) else None


def _stacked(node: ir.Node) -> _Turn | None:
    """``stack(a cos - b sin, b cos + a sin)`` of neighbours, flattened."""
    if not is_op(node, "Reshape"):
        return None
    concat = _producer(node.inputs[0])
    if concat is None or not _is_concat(concat):
        return None
    first, second = (_producer(value) for value in concat.inputs)
    if first is None or second is None or not (is_op(first, "Unsqueeze") and is_op(second, "Unsqueeze")):
        return None
    found = _pairs(first.inputs[0], second.inputs[0], ("even", "odd"))
    # (.., size / 2, 2) -> (.., size)
    return found if found is not None and _last(node.outputs[0]) == _last(found.x) else None


def _pairs(first: ir.Value | None, second: ir.Value | None, kinds: tuple[str, str]) -> _Turn | None:
    minus, plus = _producer(first), _producer(second)
    if minus is None or plus is None or not (is_op(minus, "Sub") and is_op(plus, "Add")):
        return None
    for a, cos in _factors(minus.inputs[0]):
        for b, sin in _factors(minus.inputs[1]):
            one, two = _part(a), _part(b)
            if one is None or two is None or one[0] is not two[0] or (one[1], two[1]) != kinds:
                continue
            sums = [set(_factors(value)) for value in plus.inputs]
            for left, right in (sums, sums[::-1]):
                # an exporter may slice twice
                same = _has(left, two, cos) and _has(right, one, sin)
                if same:
                    return _Turn(one[0], cos, sin, interleaved=kinds[0] == "even", whole=False)
    return None


def _has(products: set[tuple[ir.Value, ir.Value]], part: tuple[ir.Value, str], by: ir.Value) -> bool:
    return any(_part(value) == part and other is by for value, other in products)


def _factors(value: ir.Value | None) -> list[tuple[ir.Value, ir.Value]]:
    node = _producer(value)
    if node is None or not is_op(node, "Mul"):
        return []
    a, b = node.inputs
    assert a is not None and b is not None
    return [(a, b), (b, a)]


def _part(value: ir.Value | None) -> tuple[ir.Value, str] | None:
    """(x, which half of x or which of each two neighbours ``value`` is), along the last axis."""
    node = _producer(value)
    if node is None or value is None:
        return None
    if is_op(node, "Slice"):
        return _slice(node)
    if is_op(node, "Split"):
        return _split(node, node.outputs.index(value), ("low", "high"))
    x, inner = node.inputs[0], _producer(node.inputs[0])
    if x is None:
        return None
    if is_op(node, "Squeeze") and inner is not None and is_op(inner, "Split") and _last(inner.inputs[0]) == 2:
        return _of_pairs(_split(inner, inner.outputs.index(x), ("even", "odd")))
    index = constant(operand(node, 1)) if is_op(node, "Gather") else None
    if index is None or index.ndim or _last(x) != 2 or not _is_last(node, x, "axis", 0):
        return None
    return _of_pairs((x, "odd" if int(index) in (1, -1) else "even"))


def _slice(node: ir.Node) -> tuple[ir.Value, str] | None:
    x = node.inputs[0]
    size = _last(x)
    numbers = [constant(operand(node, i)) for i in (1, 2, 3, 4)]
    if x is None or size is None or size % 2 or any(n is not None and n.size != 1 for n in numbers):
        return None
    start, end, axis, step = (None if n is None else int(n.reshape(())) for n in numbers)
    if start is None or end is None or axis not in (-1, len(x.shape or ()) - 1):
        return None
    end = min(end, size) if end >= 0 else end + size
    kinds = {(0, size // 2, 1): "low", (size // 2, size, 1): "high", (0, size, 2): "even", (1, size, 2): "odd",
             (0, size - 1, 2): "even"}  # fmt: skip
    kind = kinds.get((start, end, 1 if step is None else step))
    return None if kind is None else (x, kind)


def _split(node: ir.Node, index: int, kinds: tuple[str, str]) -> tuple[ir.Value, str] | None:
    x, sizes = node.inputs[0], constant(operand(node, 1))
    if x is None or len(node.outputs) != 2 or not _is_last(node, x, "axis", 0):
        return None
    return None if sizes is not None and sizes[0] != sizes[1] else (x, kinds[index])


def _of_pairs(found: tuple[ir.Value, str] | None) -> tuple[ir.Value, str] | None:
    """What was divided into pairs before one of each was taken."""
    node = None if found is None else found[0].producer()
    if node is None or found is None or not is_op(node, "Reshape"):
        return None
    x = node.inputs[0]
    size = _last(x)
    dims = list(found[0].shape or ())
    return (x, found[1]) if x is not None and size and len(dims) > 1 and dims[-2] == size // 2 else None


def _repeats(value: ir.Value | None) -> bool:
    """Whether the two halves of the last axis are the same."""
    array = constant(value)
    if array is not None:
        half = array.shape[-1] // 2 if array.ndim else 0
        return bool(half) and np.array_equal(array[..., :half], array[..., half:])
    node = _producer(value)
    if node is None:
        return False
    if _is_concat(node):
        return node.inputs[0] is node.inputs[1]
    if is_op(node, "Unsqueeze", "Squeeze", "Slice", "Reshape"):
        return _last(node.inputs[0]) == _last(node.outputs[0]) is not None and _repeats(node.inputs[0])
    if is_op(node, "Cos", "Sin", "Cast", "Gather", "GatherND", "Identity"):
        return _repeats(node.inputs[0])
    return is_op(node, "Mul") and any(
        other is not None and _last(other) in (None, 1) and _repeats(x) for x, other in (node.inputs, node.inputs[::-1])
    )


def _is_concat(node: ir.Node) -> bool:
    return is_op(node, "Concat") and len(node.inputs) == 2 and _is_last(node, node.outputs[0], "axis", 0)


def _is_last(node: ir.Node, value: ir.Value | None, name: str, default: int) -> bool:
    rank = 0 if value is None or value.shape is None else len(value.shape)
    return attribute_int(node, name, default) in (-1, rank - 1)


def _last(value: ir.Value | None) -> int | None:
    """The last dimension, where it is a number."""
    if value is None or value.shape is None or not len(value.shape):
        return None
    return value.shape[-1] if isinstance(value.shape[-1], int) else None


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()
