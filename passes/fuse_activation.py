"""Activations become epilogues of the nodes before them."""

from __future__ import annotations

import logging

import onnx_ir as ir

from edgesparse.passes.activations import Activation, recognise
from edgesparse.passes.epilogues import refuses_activation
from edgesparse.passes.match import extra_input, label, new_initializer, take_over

DOMAIN = "edgesparse"
_log = logging.getLogger(__name__)


class FuseActivation(ir.passes.InPlacePass):
    """Fold ``act(Conv(x))`` into the Conv, and into ConvTranspose with constant weights, Gemm and MatMul.

    The producer gets the attributes ``es_act`` (relu, clip, leaky_relu, prelu, hard_swish, hard_sigmoid,
    silu, sigmoid, tanh, gelu or gelu_tanh) and ``es_lo``, ``es_hi``: the bounds of a clip, alpha of
    leaky_relu, alpha and beta of hard_sigmoid. PRelu's slopes ``(C,)`` become an extra input, whose index is
    ``es_slope_input``. Saves one pass over the activation in memory.

    Recognised are the ONNX operators and the forms that exporters spell out (see `activations`). Such a form
    without a producer that takes it becomes one node ``edgesparse::Activation`` with the same attributes.

    Does not fuse when a value between has another reader or is an output of the graph, or when the producer
    has an activation already; the log (DEBUG) says so with the node's name. The result is no standard ONNX.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        gone: set[ir.Node] = set()
        # backwards, so that x * Sigmoid(x) is seen before Sigmoid(x)
        for root in list(reversed(model.graph)):
            if root in gone:
                continue
            found = recognise(root)
            if found is None:
                continue
            producer = found.x.producer()
            refusal = refuses_activation(producer, found.nodes, found.act)
            if producer is not None and refusal == "":
                _attach(producer, found)
                take_over(producer, found.nodes, root)
            else:
                if producer is not None and refusal:
                    _log.debug("%s is not fused into %s: %s", label(root), label(producer), refusal)
                if len(found.nodes) == 1:
                    continue  # `ops` knows it as it is
                _collapse(found, root)
            gone.update(found.nodes)
            modified = True
        if any(node.domain == DOMAIN for node in model.graph):
            model.opset_imports.setdefault(DOMAIN, 1)
        return ir.passes.PassResult(model, modified)


def _attach(node: ir.Node, found: Activation) -> None:
    if found.slope is not None:
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        slope = new_initializer(graph, f"{node.name}.slope", found.slope)
        extra_input(node, slope, "es_slope_input", first=3)
    for attribute in (
        ir.AttrString("es_act", found.act), ir.AttrFloat32("es_lo", found.lo), ir.AttrFloat32("es_hi", found.hi)
    ):  # fmt: skip
        node.attributes[attribute.name] = attribute


def _collapse(found: Activation, root: ir.Node) -> None:
    """One node in the place of ``found.nodes``."""
    graph = root.graph
    assert isinstance(graph, ir.Graph)
    node = ir.Node(DOMAIN, "Activation", [found.x], name=root.name)
    _attach(node, found)
    graph.insert_before(root, node)
    take_over(node, found.nodes, root)
