"""A layer with a weight, as reconstruction sees it: its moments on samples, its bias, and how both are replaced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.passes.match import attribute_float, attribute_int, constant, is_op, operand, readers
from edgesparse.passes.weights import Weight
from edgesparse.sparsity.calibration import Samples, inner_values
from edgesparse.sparsity.moments import Accumulator, Matrix, Moments, rows_of


@dataclass(frozen=True, slots=True)
class Bias:
    """Where a layer's bias is added: input ``index`` of ``node``, times ``scale`` (Gemm's beta)."""

    node: ir.Node
    index: int
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Layer:
    """``why_not`` says why there can be no moments of it; ``outputs`` are the values that ``y`` is read from."""

    weight: Weight
    nodes: tuple[ir.Node, ...]
    bias: Bias | None
    why_not: str = ""

    @property
    def outputs(self) -> tuple[ir.Value, ...]:
        if self.bias is not None:
            return (self.bias.node.outputs[0],)
        return tuple(node.outputs[0] for node in self.nodes)

    def dense(self) -> Matrix:
        """(Co, K): the weights as they are, the bias behind them where there is, or may be, one."""
        flat = self.weight.array().astype(np.float64)
        flat = flat.reshape(len(flat), -1)
        if self.bias is None:
            return np.asarray(flat)
        found = constant(operand(self.bias.node, self.bias.index))
        column = np.zeros(1) if found is None else found.astype(np.float64).reshape(-1) * self.bias.scale
        return np.concatenate([flat, np.broadcast_to(column, (len(flat),))[:, None]], axis=1)

    def replace(self, model: ir.Model, weights: Matrix) -> None:
        """Put ``weights`` (Co, K), as `dense` gives them, in the place of the weight and its bias."""
        old, before = self.weight.array(), self.dense()[:, -1]
        columns = old.size // len(old)
        self.weight.replace(weights[:, :columns].reshape(old.shape).astype(old.dtype))
        if self.bias is not None and not np.array_equal(weights[:, columns], before):
            column = (weights[:, columns] / self.bias.scale).astype(old.dtype)
            _set_constant(model, self.bias.node, self.bias.index, column, f"{self.weight.name}.bias")


def layer_of(weight: Weight) -> Layer:
    """The layer that ``weight`` belongs to, in the model that the weight is of."""
    nodes = tuple(dict.fromkeys(usage.node for usage in weight.value.uses()))
    if any(is_op(n, "Conv") and attribute_int(n, "group", 1) != 1 for n in nodes):
        return Layer(weight, nodes, None, "it is in groups")
    bias = _bias(nodes[0]) if len(nodes) == 1 else None
    if any(_variable_bias(n) for n in nodes):
        return Layer(weight, nodes, None, "its bias is not constant")
    return Layer(weight, nodes, bias)


def _variable_bias(node: ir.Node) -> bool:
    value = operand(node, 2)
    return is_op(node, "Conv", "Gemm") and value is not None and constant(value) is None


def _bias(node: ir.Node) -> Bias | None:
    if is_op(node, "Conv"):
        return Bias(node, 2)
    if is_op(node, "Gemm"):
        beta = attribute_float(node, "beta", 1.0)
        # y = A' x: the bias is a column there, which reconstruction does not move
        return Bias(node, 2, beta) if beta and _weight_index(node) == 1 else None
    (output,) = node.outputs
    following = list(readers(output))
    if len(following) != 1 or not is_op(following[0], "Add") or output.is_graph_output() or _weight_index(node) != 1:
        return None
    add = following[0]
    index = 1 if add.inputs[0] is output else 0
    added = constant(add.inputs[index])
    weight = constant(node.inputs[1])
    if added is None or weight is None or added.size != weight.shape[1] or added.shape[-1:] != weight.shape[1:]:
        return None
    return Bias(add, index)


def _weight_index(node: ir.Node) -> int:
    return 1 if constant(operand(node, 1)) is not None else 0


def _set_constant(model: ir.Model, node: ir.Node, index: int, array: Matrix, name: str) -> None:
    """A new initializer: the old one may have other readers."""
    old = operand(node, index)
    if old is not None and (was := constant(old)) is not None and was.size == array.size:
        array = array.reshape(was.shape)
    while name in model.graph.initializers:
        name += "_"
    value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(array), name=name))
    value.shape, value.type = ir.Shape(array.shape), ir.TensorType(ir.DataType.from_numpy(array.dtype))
    model.graph.register_initializer(value)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)
    if (
        old is not None
        and old.name
        and not old.uses()
        and old.name in model.graph.initializers
        and not old.is_graph_output()
    ):
        del model.graph.initializers[old.name]


def moments_of(layer: Layer, model: ir.Model, dense: ir.Model, samples: Samples) -> Moments:
    """The layer's moments on ``samples``: inputs as ``model`` makes them, outputs as ``dense`` (with the same names).

    So each layer makes up for what pruning its predecessors changed.
    """
    accumulator = Accumulator(layer.bias is not None)
    outputs = {v.name: v for node in dense.graph for v in node.outputs}
    inputs = [node.inputs[1 - _weight_index(node)] for node in layer.nodes]
    xs = inner_values(model, [v for v in inputs if v is not None], samples)
    ys = inner_values(dense, [outputs[v.name] for v in layer.outputs], samples)
    kernel = layer.weight.array().shape[2:]
    for x, y in zip(xs, ys, strict=True):
        for node, one_x, one_y in zip(layer.nodes, x, y, strict=True):
            for a, b in rows_of(node, _weight_index(node), kernel, one_x, one_y):
                accumulator.add(a, b)
    return accumulator.moments()
