"""A Pad with zeros becomes the padding of the convolution behind it."""

from __future__ import annotations

import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.rules.common import fuse_pad_into_conv_rule, normalize_pad_format_conv_rule


class FoldPad(ir.passes.InPlacePass):
    """Fold ``Conv(Pad(x))`` into ``Conv(x)`` with larger ``pads``; saves one copy of ``x``. The rules are onnxscript's.

    Does not fold paddings of batch or channels, with another value than zero, of another mode, or computed at run
    time. ``auto_pad`` is written out as ``pads``, where the shapes are known.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        rules = RewriteRuleSet([normalize_pad_format_conv_rule, fuse_pad_into_conv_rule])
        return ir.passes.PassResult(model, modified=rules.apply_to_model(model) > 0)
