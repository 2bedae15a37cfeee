"""Which channels of a network can change places together: what a permutation of them has to touch. No pass is here.

A channel class is a set of channel axes that must keep the same order: those of a convolution's output, of the bias
and the activation behind it, of the depthwise convolution that reads it, of both operands of an Add. Its order is free
unless something pins it: inputs and outputs of the model, groups, a Reshape that mixes channels, an operator without a
rule in `channel_rules`.

Source: the whole-network rearrangement of "SparseByteNN: A Novel Mobile Inference Acceleration Framework Based on
Fine-Grained Group Sparsity"; how is our own.
"""

from __future__ import annotations

import onnx_ir as ir

from edgesparse.passes.channel_rules import rule
from edgesparse.passes.channel_ties import ChannelClasses, Cuts, Layout, Member, Segment
from edgesparse.passes.match import label
from edgesparse.passes.weights import WEIGHTED

__all__ = ["ChannelClasses", "Layout", "Member", "Segment", "channel_classes"]


def channel_classes(model: ir.Model) -> ChannelClasses:
    """The classes of ``model``, which is simplified and not changed."""
    cuts: Cuts = {}
    while True:
        found = ChannelClasses(cuts=cuts)
        _walk(found, model.graph)
        fresh = {node: at - cuts.get(node, set()) for node, at in found.wanted.items()}
        if not any(fresh.values()):
            return found
        for node, at in fresh.items():
            cuts[node] = cuts.get(node, set()) | at


def _walk(found: ChannelClasses, graph: ir.Graph) -> None:
    for node in graph:
        inputs = [found.layouts.get(v) if v is not None else None for v in node.inputs]
        known = rule(node)
        outputs = None if known is None else known(found, node, inputs)
        read = [v for v in node.outputs if v.uses() or v.is_graph_output()]
        if outputs is None or any(v not in node.outputs[: len(outputs)] for v in read):
            for layout in inputs:
                found.pin(layout, f"{label(node)} mixes channels, or is not known to keep them apart")
            continue
        for value, layout in zip(node.outputs, outputs, strict=False):
            if layout is not None:
                found.layouts[value] = layout
    for value, layout in found.layouts.items():
        if value.is_graph_output():
            found.pin(layout, f"'{value.name}' is an output of the model")
        if any(use.node.graph is not graph for use in value.uses()):
            found.pin(layout, f"'{value.name}' is read by a graph within a node")
    for member in found.members:
        # vectors are copied for the one that reads them, weights are not
        shared = len(member.value.uses()) > 1 or member.value.is_graph_output()
        if shared and member.node.op_type in WEIGHTED and member.index == 1:
            found.pin(member.layout, f"'{member.value.name}' has several readers")
