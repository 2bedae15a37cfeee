"""Fold BatchNormalization into the convolution, transposed convolution or Gemm before it."""

from __future__ import annotations

import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.rules.common import (
    fuse_batchnorm_into_conv_rule,
    fuse_batchnorm_into_conv_transpose_rule,
    fuse_batchnorm_into_gemm_rule,
)


class FoldBatchnorm(ir.passes.InPlacePass):
    """Fold ``BatchNormalization(Conv(x))`` into ``Conv(x)``; also ConvTranspose and Gemm.

    With ``s = gamma / sqrt(var + eps)`` the new weights are ``w * s`` and the new bias is
    ``(b - mean) * s + beta``. ``w`` is ``(Cout, Cin/groups, *kernel)``, the others ``(Cout,)``.

    Does not fold when a parameter is not constant or the convolution has another reader.

    Source: Jacob et al. 2018, section 3.2, https://arxiv.org/abs/1712.05877
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        rules = RewriteRuleSet(
            [fuse_batchnorm_into_conv_rule, fuse_batchnorm_into_conv_transpose_rule, fuse_batchnorm_into_gemm_rule]
        )
        return ir.passes.PassResult(model, modified=rules.apply_to_model(model) > 0)
