"""Fold what is known at compile time: shape chains, dequantised weights, arithmetic on constants."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript.optimizer import fold_constants

# Weights of any size fold, whatever stands before them (DequantizeLinear, Transpose, Reshape).
_NO_LIMIT = 2**31


class FoldConstants(ir.passes.InPlacePass):
    """onnxscript's constant folding and shape inference, without its size limits.

    The results become initializers, so that later passes find every constant in one place.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = len(list(model.graph))
        fold_constants(
            model, onnx_shape_inference=True, input_size_limit=_NO_LIMIT, output_size_limit=_NO_LIMIT
        )  # fmt: skip
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        common.RemoveUnusedNodesPass()(model)
        common.ShapeInferencePass(strict_mode=False)(model)
        return ir.passes.PassResult(model, modified=len(list(model.graph)) != nodes)
