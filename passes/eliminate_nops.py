"""Nodes that change nothing go."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.rules.common import (
    add_0_rule,
    collapse_slice2_rule,
    collapse_slice_rule,
    div_by_1_rule,
    mul_by_1_rule,
    no_op_cast_rule,
    no_op_expand_rule,
    reshape_reshape_rule,
    sub_0_rule,
    successive_clip_relu_rule,
    successive_clip_rule,
    successive_relu_clip_rule,
    successive_relu_rule,
    unsqueeze_unsqueeze_rule,
)

from edgesparse.passes.match import constant, is_op, operand

_RULES = (
    add_0_rule, sub_0_rule, mul_by_1_rule, div_by_1_rule, no_op_cast_rule,
    no_op_expand_rule, collapse_slice_rule, collapse_slice2_rule, reshape_reshape_rule, unsqueeze_unsqueeze_rule,
    successive_clip_rule, successive_relu_rule, successive_clip_relu_rule, successive_relu_clip_rule,
)  # fmt: skip


class EliminateNops(ir.passes.InPlacePass):
    """Remove ``x + 0``, ``x * 1``, Dropout at inference, Casts to the same type, Slices and Expands that keep all.

    Two Reshapes, Unsqueezes, Clips or Relus in a row become one. The rules are onnxscript's.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = RewriteRuleSet(_RULES).apply_to_model(model) > 0
        for node in model.graph:
            if _is_idle_dropout(node):
                node.op_type = "Identity"
                node.resize_inputs(1)
                node.attributes.clear()
                if len(node.outputs) > 1:
                    node.resize_outputs(1)
        modified |= common.IdentityEliminationPass()(model).modified
        return ir.passes.PassResult(model, modified)


def _is_idle_dropout(node: ir.Node) -> bool:
    """A Dropout at inference whose mask nobody reads."""
    if not is_op(node, "Dropout"):
        return False
    training = operand(node, 2)
    known = constant(training)
    if training is not None and (known is None or known.any()):
        return False
    return all(not v.uses() and not v.is_graph_output() for v in node.outputs[1:])
