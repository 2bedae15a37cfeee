"""Attention over a cache of keys and values becomes one operator, cache included."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from edgesparse.passes.match import attribute_float, attribute_int, constant, is_op, operand, refuse, scalar

OPSET = 23
_HIDES = -1e4  # a score that is as low as this or lower hides its key


@dataclass(frozen=True, slots=True)
class _Scores:
    """``softmax(cap * tanh(scale * q @ k.T / cap) + mask)``; where ``mask`` is of booleans, false hides."""

    q: ir.Value
    k: ir.Value
    scale: float
    cap: float
    mask: ir.Value | None


@dataclass(frozen=True, slots=True)
class _Cached:
    """``present = concat(past, new)``, over tokens."""

    present: ir.Value
    past: ir.Value
    new: ir.Value


class FuseAttention(ir.passes.InPlacePass):
    """``softmax(q @ k.T * scale + mask) @ v`` over ``k = concat(past_k, new_k)`` becomes Attention with a past.

    ``q``: (1, heads, T, size); ``k``, ``v``: (1, kv_heads, P + T, size), possibly repeated for the queries that share
    them. Scales may stand before or behind the product, a soft cap behind it; masks are added, or chosen by Where.
    An Attention of opset 23 that has no past yet takes it up, too.

    Does not fuse where keys or values are no concatenation of an input and new ones that is an output, or are repeated
    in another order than ``repeat_interleave``; noted at the last node.

    Source: Vaswani et al. 2017, "Attention Is All You Need"; Ainslie et al. 2023, "GQA: Training Generalized
    Multi-Query Transformer Models from Multi-Head Checkpoints"
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if is_op(node, "MatMul"):
                found = _softmax(node.inputs[0])
            elif is_op(node, "Attention") and operand(node, 4) is None and len(node.outputs) == 1:
                found = _operator(node)
            else:
                continue
            values = node.inputs[1 if is_op(node, "MatMul") else 2]
            modified |= found is not None and values is not None and _fuse(model.graph, node, found, values)
        if modified:
            model.opset_imports[""] = max(model.opset_imports.get("", 0), OPSET)
        return ir.passes.PassResult(model, modified=modified)


def _fuse(graph: ir.Graph, root: ir.Node, found: _Scores, values: ir.Value) -> bool:
    k, v = _cached(_once(found.k)), _cached(_once(values))
    if k is None or v is None:
        what = "keys" if k is None else "values"
        refuse(root, f"its {what} are not a past from an input and new ones, joined over tokens to an output")
        return False
    causal = attribute_int(root, "is_causal", 0) if is_op(root, "Attention") else 0
    fused = ir.node(
        "Attention", [found.q, k.new, v.new, found.mask, k.past, v.past], num_outputs=3, name=root.name,
        attributes={"is_causal": causal, "scale": found.scale, "softcap": found.cap},
    )  # fmt: skip
    graph.insert_before(root, fused)
    old, new = root.outputs[0], fused.outputs[0]
    new.shape, new.type, name = old.shape, old.type, old.name
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(root, safe=True)
    new.name = name
    for value, cached in zip(fused.outputs[1:], (k, v), strict=True):
        # only the output: what asks for the shape of the joined keys may come before this node
        value.shape, value.type, name = cached.present.shape, cached.present.type, cached.present.name
        graph.outputs[list(graph.outputs).index(cached.present)] = value
        cached.present.name = f"{name}.joined"
        value.name = name
    return True


def _operator(node: ir.Node) -> _Scores | None:
    q, k = node.inputs[0], node.inputs[1]
    size = None if q is None or q.shape is None or len(q.shape) != 4 else q.shape[-1]
    if q is None or k is None or not isinstance(size, int):
        return None
    scale = attribute_float(node, "scale", size**-0.5)
    return _Scores(q, k, scale, attribute_float(node, "softcap", 0.0), operand(node, 3))


def _softmax(value: ir.Value | None) -> _Scores | None:
    """What is read of ``value`` as the weights of keys."""
    node = _producer(value)
    if node is not None and is_op(node, "Where"):  # torch: rows without any key become 0 and not NaN
        test = _producer(node.inputs[0])
        hidden = test is not None and is_op(test, "IsNaN") and test.inputs[0] is node.inputs[2]
        if not hidden or scalar(node.inputs[1]) != 0:
            return None
        node = _producer(node.inputs[2])
    if node is None or not is_op(node, "Softmax") or attribute_int(node, "axis", -1) not in (-1, 3):
        return None
    scores = node.inputs[0]
    mask: ir.Value | None = None
    inner = _producer(scores)
    if inner is not None and is_op(inner, "Where"):
        mask, scores = _chosen(inner)
    elif inner is not None and is_op(inner, "Add"):
        ways = [(a, b) for a, b in (inner.inputs, inner.inputs[::-1]) if _product(a) is not None]
        if len(ways) == 1:
            scores, mask = ways[0]
    found = _product(scores)
    return None if found is None else _Scores(found.q, found.k, found.scale, found.cap, mask)


def _chosen(node: ir.Node) -> tuple[ir.Value | None, ir.Value | None]:
    """(mask, scores) of a Where; (None, None) where it does not hide."""
    condition, first, second = node.inputs
    low = scalar(second)
    if low is not None and low <= _HIDES:
        return condition, first
    low = scalar(first)
    inverse = _producer(condition)
    if low is None or low > _HIDES or inverse is None or not is_op(inverse, "Not"):
        return None, None
    return inverse.inputs[0], second


def _product(value: ir.Value | None) -> _Scores | None:
    """``value`` as scores without a mask."""
    value, outer = _scaled(value)
    node, cap = _producer(value), 0.0
    if node is not None and is_op(node, "Tanh"):
        value, inner = _scaled(node.inputs[0])
        cap, outer = outer, inner * outer  # cap * tanh(scale * s / cap)
        node = _producer(value)
    if node is None or not is_op(node, "MatMul"):
        return None
    q, by_q = _scaled(node.inputs[0])
    turned, behind = _scaled(node.inputs[1])
    k, before = _scaled(_swapped(turned))
    return None if q is None or k is None else _Scores(q, k, outer * by_q * behind * before, cap, None)


def _scaled(value: ir.Value | None) -> tuple[ir.Value | None, float]:
    """(x, number) of ``x * number``, through several."""
    number = 1.0
    while (node := _producer(value)) is not None and is_op(node, "Mul", "Div"):
        right = scalar(node.inputs[1])
        left = scalar(node.inputs[0]) if is_op(node, "Mul") else None
        if right:
            number, value = (number * right if node.op_type == "Mul" else number / right), node.inputs[0]
        elif left:
            number, value = number * left, node.inputs[1]
        else:
            break
    return value, number


def _swapped(value: ir.Value | None) -> ir.Value | None:
    """x where ``value`` is x with its last two axes swapped."""
    node = _producer(value)
    if node is None:
        return None
    if is_op(node, "Transpose") and _perm(node) == [0, 1, 3, 2]:
        return node.inputs[0]
    if not is_op(node, "Reshape"):  # torch before opset 23: (1, heads, n, size) -> (heads, n, size) and back
        return None
    turn = _producer(node.inputs[0])
    if turn is None or not is_op(turn, "Transpose") or _perm(turn) != [0, 2, 1]:
        return None
    first = _producer(turn.inputs[0])
    return first.inputs[0] if first is not None and is_op(first, "Reshape") else None


def _once(value: ir.Value | None) -> ir.Value | None:
    """x where ``value`` is x, each head repeated: (1, n, T, size) -> (1, n, 1, T, size) -> (1, n * r, T, size)."""
    node = _producer(value)
    if node is None or not is_op(node, "Reshape"):
        return value
    wide = _producer(node.inputs[0])
    if wide is None or not is_op(wide, "Expand"):
        return value
    narrow = _producer(wide.inputs[0])
    axes = None if narrow is None or not is_op(narrow, "Unsqueeze") else constant(operand(narrow, 1))
    if narrow is None or axes is None or axes.tolist() not in ([2], [-3]):
        return value
    return narrow.inputs[0]


def _cached(value: ir.Value | None) -> _Cached | None:
    node = _producer(value)
    if value is None or node is None or not is_op(node, "Concat") or len(node.inputs) != 2:
        return None
    past, new = node.inputs
    if attribute_int(node, "axis", 0) not in (2, -2) or past is None or new is None:
        return None
    return _Cached(value, past, new) if past.is_graph_input() and value.is_graph_output() else None


def _perm(node: ir.Node) -> list[int]:
    found = node.attributes.get("perm")
    return [] if found is None else [int(i) for i in found.as_ints()]


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()
