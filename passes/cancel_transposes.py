"""Transposes move towards the outputs until they meet their inverse."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgesparse.passes.match import attribute_int, constant, is_op, new_initializer, operand, readers, shape

_UNARY = frozenset(
    "Abs Cast Ceil Clip Elu Erf Exp Floor Gelu HardSigmoid HardSwish LeakyRelu Log Mish Neg Not Reciprocal Relu Round "
    "Selu Sigmoid Sign Softplus Softsign Sqrt Swish Tanh".split()
)
_BROADCAST = frozenset(
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mul Or PRelu Pow Sub Sum Where Xor".split()
)
_REDUCE = frozenset("ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare".split())
_AXIS = frozenset("Concat LogSoftmax Softmax".split())


class CancelTransposes(ir.passes.InPlacePass):
    """``Transpose(Transpose(x))`` becomes one Transpose, or ``x`` where the two are inverse.

    To meet each other, Transposes move behind element-wise nodes, Concat, Softmax, Pad, Slice and reductions that
    keep their dimensions: ``f(T(x)) = T(f'(x))``, where ``f'`` has its axes and constants permuted. This undoes
    tf2onnx's NHWC wrappers around every convolution. A Transpose moves only when no other node reads it, so that
    there are never more of them afterwards. Transposed constants are folded. The result is standard ONNX.

    Does not move a Transpose behind a node with an operand that is neither constant nor transposed alike.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        graph = model.graph
        opset = model.opset_imports.get("", 0)
        changed = True
        while changed:  # every round merges two Transposes or moves one down: it ends
            changed = False
            for node in list(graph):
                if is_op(node, "Transpose"):
                    changed |= _merge(graph, node)
                else:
                    changed |= _sink(graph, node, opset)
            modified |= changed
        return ir.passes.PassResult(model, modified)


def _permutation(node: ir.Node | None) -> tuple[int, ...] | None:
    """The permutation of a Transpose with known rank."""
    if node is None or not is_op(node, "Transpose"):
        return None
    found = node.attributes.get("perm")
    if found is not None:
        return tuple(int(p) for p in found.as_ints())
    x = node.inputs[0]
    return None if x is None or x.shape is None else tuple(range(len(x.shape)))[::-1]


def _merge(graph: ir.Graph, node: ir.Node) -> bool:
    perm, x, y = _permutation(node), node.inputs[0], node.outputs[0]
    if perm is None or x is None:
        return False
    if perm == tuple(range(len(perm))):
        if y.is_graph_output() and (x.is_graph_input() or x.is_graph_output() or x.is_initializer()):
            return False
        name = y.name
        y.replace_all_uses_with(x, replace_graph_outputs=True)
        if x.is_graph_output():
            x.name = name
        graph.remove(node, safe=True)
        return True
    before = x.producer()
    inner = _permutation(before)
    if inner is None or before is None:
        return False
    node.replace_input_with(0, before.inputs[0])
    node.attributes["perm"] = ir.AttrInt64s("perm", [inner[p] for p in perm])
    if not x.uses() and not x.is_graph_output():
        graph.remove(before, safe=True)
    return True


def _sink(graph: ir.Graph, node: ir.Node, opset: int) -> bool:
    """``f(T(x))`` -> ``T(f'(x))``."""
    moved = _operands(node)
    if moved is None or len(node.outputs) != 1 or node.outputs[0].shape is None:
        return False
    perm, transposes = moved
    out = shape(node.outputs[0])
    if out is None or len(out) != len(perm) or not _permute_node(graph, node, perm, opset):
        return False
    for index, value in enumerate(node.inputs):
        producer = None if value is None else value.producer()
        if producer in transposes and producer is not None:
            node.replace_input_with(index, producer.inputs[0])
    for transpose in transposes:
        graph.remove(transpose, safe=True)
    old = node.outputs[0]
    new = ir.Value(shape=old.shape, type=old.type)
    back = ir.Node("", "Transpose", [old], [ir.AttrInt64s("perm", list(perm))], outputs=[new])
    name = old.name
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    back.replace_input_with(0, old)
    graph.insert_after(node, back)
    inner = [0] * len(perm)
    for i, p in enumerate(perm):
        inner[p] = out[i]
    old.shape = ir.Shape(inner)
    old.name, new.name = f"{name}.transposed", name
    return True


def _operands(node: ir.Node) -> tuple[tuple[int, ...], list[ir.Node]] | None:
    """The permutation that all activations of ``node`` come through, and the Transposes that make it."""
    if not is_op(node, *_UNARY, *_BROADCAST, *_REDUCE, *_AXIS, "Pad", "Slice"):
        return None
    first_only = not is_op(node, *_BROADCAST, "Concat")
    perms: set[tuple[int, ...]] = set()
    transposes: list[ir.Node] = []
    for value in list(node.inputs)[: 1 if first_only else None]:
        if value is None or (constant(value) is not None and is_op(node, *_BROADCAST)):
            continue
        producer = value.producer()
        perm = _permutation(producer)
        if perm is None or producer is None or readers(value) != {node} or value.is_graph_output():
            return None
        perms.add(perm)
        if producer not in transposes:
            transposes.append(producer)
    return (perms.pop(), transposes) if len(perms) == 1 else None


def _permute_node(graph: ir.Graph, node: ir.Node, perm: tuple[int, ...], opset: int) -> bool:
    """Permute the axes and constants of ``node``; False, and nothing changed, where that cannot be done."""
    rank = len(perm)
    if is_op(node, *_UNARY):
        return True
    if is_op(node, *_BROADCAST):
        return _permute_constants(graph, node, perm)
    if is_op(node, *_AXIS):
        if not is_op(node, "Concat") and opset < 13:
            return False  # flattens all dimensions behind the axis
        axis = attribute_int(node, "axis", -1)
        node.attributes["axis"] = ir.AttrInt64("axis", perm[axis % rank])
        return True
    if is_op(node, "Pad"):
        pads = constant(operand(node, 1))
        if pads is None or operand(node, 3) is not None or pads.size != 2 * rank:
            return False
        new = np.zeros((2, rank), np.int64)
        new[:, list(perm)] = pads.reshape(2, rank)
        node.replace_input_with(1, new_initializer(graph, f"{node.name}.pads", new.reshape(-1)))
        return True
    if is_op(node, "Slice"):
        return _permute_axes(graph, node, perm, 3)
    if not attribute_int(node, "keepdims", 1):
        return False
    if "axes" in node.attributes:
        axes = [perm[a % rank] for a in node.attributes["axes"].as_ints()]
        node.attributes["axes"] = ir.AttrInt64s("axes", axes)
        return True
    return operand(node, 1) is None or _permute_axes(graph, node, perm, 1)


def _permute_axes(graph: ir.Graph, node: ir.Node, perm: tuple[int, ...], index: int) -> bool:
    axes = constant(operand(node, index))
    if axes is None or axes.size == 0:
        return False
    mapped = np.array([perm[int(a) % len(perm)] for a in axes.reshape(-1)], axes.dtype)
    node.replace_input_with(index, new_initializer(graph, f"{node.name}.axes", mapped))
    return True


def _permute_constants(graph: ir.Graph, node: ir.Node, perm: tuple[int, ...]) -> bool:
    rank = len(perm)
    changed = []
    for index, value in enumerate(node.inputs):
        array = constant(value)
        if array is None or array.size == 1:
            if array is not None and array.ndim > rank:
                return False
            continue
        if array.ndim > rank:
            return False
        turned = array.reshape((1,) * (rank - array.ndim) + array.shape).transpose(np.argsort(perm))
        changed.append((index, turned))
    for index, turned in changed:
        node.replace_input_with(index, new_initializer(graph, f"{node.name}.turned", turned))
    return True
