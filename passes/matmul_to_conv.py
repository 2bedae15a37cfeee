"""Matrix products over many rows become 1x1 convolutions on channels-first data."""

from __future__ import annotations

import logging
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.passes.channels_first import (
    BINARY,
    VIEWS,
    activations_of,
    choose,
    moves_to_channels,
    moves_to_rows,
    rows_and_channels,
    turned_constant,
)
from edgesparse.passes.epilogues import refuses_rows
from edgesparse.passes.match import (
    attribute_float,
    attribute_int,
    constant,
    is_op,
    label,
    new_initializer,
    operand,
    shape,
)
from edgesparse.types import Array, Shape

_log = logging.getLogger(__name__)
MIN_ROWS = 8  # below, a product that reads its weights once a row is as fast as one on a short vector of rows


class MatmulToConv(ir.passes.InPlacePass):
    """Turn ``y (.., M, N) = x (.., M, K) @ w (K, N) + b`` with constant ``w`` and M >= 8 rows into a 1x1 Conv.

    ``x`` is transposed to ``(1, K, 1, M)``, the Conv has weights ``(N, K, 1, 1)``, its output ``(1, N, 1, M)`` is
    transposed back: each weight is then read once for all rows, by the kernels of sparse convolution. Element-wise
    nodes, additions, LayerNormalization (with ``es_axis = 1`` instead of ``axis``) and Transposes that the model has
    already join in, where that leaves fewer Transposes; see `channels_first`.

    At worst this adds two Transposes a product. Does not convert a product with few rows, with weights that are not
    constant, or with a bias that is not one number a column; the log (DEBUG) says so with the node's name. Needs static
    shapes and nodes without epilogues. The result is no standard ONNX where there is a LayerNormalization in it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        products = {node for node in model.graph if self._converts(node)}
        if products:
            _Rewrite(model.graph, products, choose(model.graph, products)).run()
        return ir.passes.PassResult(model, bool(products))

    def _converts(self, node: ir.Node) -> bool:
        if not is_op(node, "MatMul", "Gemm") or constant(operand(node, 1)) is None:
            return False
        size = rows_and_channels(node.inputs[0])
        if size is not None and size[0] == 1:
            return False  # the usual classifier: not worth a message
        refusal = refuses_rows(node)
        if not refusal and (size is None or size[0] < MIN_ROWS):
            refusal = "its shape is not known" if size is None else f"{size[0]} rows are too few"
        if refusal:
            _log.debug("%s stays a matrix product: %s", label(node), refusal)
        return not refusal


class _Rewrite:
    """Replaces nodes in graph order. ``turned`` maps a row-major value to its channels-first twin."""

    def __init__(self, graph: ir.Graph, products: set[ir.Node], chosen: set[ir.Node]) -> None:
        self.graph, self.products, self.chosen = graph, products, chosen
        self.turned: dict[ir.Value, ir.Value] = {}
        self.made: list[ir.Node] = []  # layout changes that may turn out to have no reader
        self.shapes: dict[Shape, ir.Value] = {}
        self.weights: dict[tuple[ir.Value, bool, float], ir.Value] = {}

    def run(self) -> None:
        for node in list(self.graph):
            if node in self.chosen:
                self._back(node, self._convolution(node) if node in self.products else self._flexible(node))
            elif moves_to_rows(node):
                source, size = node.inputs[0], rows_and_channels(node.outputs[0])
                assert source is not None and size is not None
                self.turned[node.outputs[0]] = self._reshape(source, (1, size[1], 1, size[0]), node, after=True)
                self.made.append(node)
            elif moves_to_channels(node):
                self._meet(node)
        for node in reversed(self.made):
            if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
                self.graph.remove(node, safe=True)

    def _meet(self, node: ir.Node) -> None:
        """A Transpose to channels-first: replaced by the twin that there is, or it makes the twin itself."""
        source, out = node.inputs[0], shape(node.outputs[0])
        size = rows_and_channels(source)
        assert source is not None and size is not None and out is not None
        if source in self.turned:
            self._replace(node, self._reshape(self.turned[source], out, node))
        else:
            self.turned[source] = self._reshape(node.outputs[0], (1, size[1], 1, size[0]), node, after=True)

    def _turn(self, value: ir.Value, before: ir.Node) -> ir.Value:
        """``value`` channels-first, made once."""
        if value not in self.turned:
            size = rows_and_channels(value)
            assert size is not None
            rows, channels = size
            flat = self._reshape(value, (1, 1, rows, channels), before)
            self.turned[value] = self._transpose(flat, (0, 3, 1, 2), (1, channels, 1, rows), before)
        return self.turned[value]

    def _back(self, node: ir.Node, twin: ir.Value) -> None:
        """Make the output of ``node`` out of ``twin``, for those who read it row-major."""
        out = shape(node.outputs[0])
        assert out is not None
        rows, channels = prod(out[:-1]), out[-1]
        flat = self._transpose(twin, (0, 2, 3, 1), (1, 1, rows, channels), node)
        new = self._reshape(flat, out, node)
        self._replace(node, new)
        self.turned[new] = twin

    def _replace(self, node: ir.Node, new: ir.Value) -> None:
        """``new`` takes the place of the output of ``node``, and its name where nothing else has read it."""
        old = node.outputs[0]
        name, fresh = old.name, not new.uses() and new.producer() in self.made
        if old.is_graph_output() and not fresh:
            new, fresh = self._add("Identity", [new], shape(old) or (), node), True
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)
        if fresh:
            new.name = name

    def _convolution(self, node: ir.Node) -> ir.Value:
        x, w = node.inputs[0], node.inputs[1]
        size = rows_and_channels(node.outputs[0])
        assert x is not None and w is not None and size is not None
        inputs = [self._turn(x, node), self._weight(node, w)]
        bias = constant(operand(node, 2))
        if bias is not None:
            beta = np.float32(attribute_float(node, "beta", 1.0))
            vector = np.broadcast_to(bias.reshape(-1), size[1]).astype(np.float32) * beta
            inputs.append(new_initializer(self.graph, f"{node.name}.bias", vector))
        attributes: list[ir.Attr] = [ir.AttrInt64s("kernel_shape", [1, 1])]
        return self._add("Conv", inputs, (1, size[1], 1, size[0]), node, attributes, node.name)

    def _weight(self, node: ir.Node, w: ir.Value) -> ir.Value:
        """(K, N) or with transB (N, K), times alpha -> (N, K, 1, 1); shared by the nodes that shared ``w``."""
        turned = bool(attribute_int(node, "transB", 0)) and node.op_type == "Gemm"
        alpha = attribute_float(node, "alpha", 1.0)
        key = (w, turned, alpha)
        if key not in self.weights:
            array = constant(w)
            assert array is not None
            matrix: Array = (array if turned else array.T) * np.float32(alpha)
            kernel = matrix[:, :, None, None].astype(np.float32)
            self.weights[key] = new_initializer(self.graph, f"{w.name}.1x1", kernel)
        return self.weights[key]

    def _flexible(self, node: ir.Node) -> ir.Value:
        """An element-wise node, LayerNormalization or view on channels-first operands."""
        size, out, indices = rows_and_channels(node.outputs[0]), shape(node.outputs[0]), activations_of(node)
        assert size is not None and out is not None and indices is not None
        inputs = list(node.inputs)
        for index in indices:
            value = inputs[index]
            assert value is not None
            inputs[index] = self._turn(value, node)
        if is_op(node, *VIEWS):
            assert inputs[0] is not None
            return inputs[0]
        attributes = list(node.attributes.values())
        if is_op(node, "LayerNormalization"):
            attributes = [a for a in attributes if a.name != "axis"] + [ir.AttrInt64("es_axis", 1)]
        elif is_op(node, *BINARY):
            for index, value in enumerate(inputs):
                array = None if index in indices else constant(value)
                if array is not None:
                    turned = turned_constant(array, out)
                    assert turned is not None
                    inputs[index] = new_initializer(self.graph, f"{node.name}.channels", turned)
        target = (1, size[1], 1, size[0])
        return self._add(node.op_type, inputs, target, node, attributes, node.name, node.domain)

    def _reshape(self, value: ir.Value, target: Shape, beside: ir.Node, *, after: bool = False) -> ir.Value:
        if shape(value) == target:
            return value
        if target not in self.shapes:
            name = "shape_" + "x".join(map(str, target))
            self.shapes[target] = new_initializer(self.graph, name, np.array(target, np.int64))
        out = self._add("Reshape", [value, self.shapes[target]], target, beside, after=after)
        self._remember(out)
        return out

    def _transpose(self, value: ir.Value, perm: Shape, target: Shape, before: ir.Node) -> ir.Value:
        if sum(d != 1 for d in target) < 2:  # no data moves
            return self._reshape(value, target, before)
        out = self._add("Transpose", [value], target, before, [ir.AttrInt64s("perm", list(perm))])
        self._remember(out)
        return out

    def _remember(self, value: ir.Value) -> None:
        node = value.producer()
        assert node is not None
        self.made.append(node)

    def _add(
        self, op_type: str, inputs: list[ir.Value] | list[ir.Value | None], out: Shape, beside: ir.Node,
        attributes: list[ir.Attr] | None = None, name: str | None = None, domain: str = "", *, after: bool = False,
    ) -> ir.Value:  # fmt: skip
        value = ir.Value(shape=ir.Shape(out), type=ir.TensorType(ir.DataType.FLOAT))
        node = ir.Node(domain, op_type, inputs, attributes or (), outputs=[value], name=name)
        (self.graph.insert_after if after else self.graph.insert_before)(beside, node)
        return value
