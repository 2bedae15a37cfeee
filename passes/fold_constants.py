"""Fold what is known at compile time: shape chains, dequantised weights, arithmetic on constants."""

from __future__ import annotations

from math import prod

import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript.optimizer import fold_constants

from edgesparse.errors import InputError
from edgesparse.passes.infer_shapes import infer_shapes, without_ceil

# Weights of any size fold, whatever stands before them (DequantizeLinear, Transpose, Reshape).
_NO_LIMIT = 2**31
_GROWS = frozenset({"ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "Upsample", "OneHot", "EyeLike"})
_LARGEST_RESULT = 2**28  # elements: a shape in a damaged file must not take all memory


def _should_fold(node: ir.Node) -> bool | None:
    """False where the result is too large or its size unknown; None leaves it to onnxscript."""
    for value in node.outputs:
        shape = value.shape
        if shape is not None and all(isinstance(d, int) for d in shape):
            if prod(d for d in shape if isinstance(d, int)) > _LARGEST_RESULT:
                return False
        elif node.op_type in _GROWS:
            return False
    return True if node.op_type == "ConstantOfShape" and node.domain in ("", "ai.onnx") else None


class FoldConstants(ir.passes.InPlacePass):
    """onnxscript's constant folding and shape inference, without its size limits.

    The results become initializers, so that later passes find every constant in one place.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = len(list(model.graph))
        try:
            with without_ceil(model):
                fold_constants(
                    model, onnx_shape_inference=True, input_size_limit=_NO_LIMIT, output_size_limit=_NO_LIMIT,
                    should_fold=_should_fold,
                )  # fmt: skip
        except RuntimeError as error:  # "Error during constant folding for node ...", and the cause
            raise InputError(f"{error}: {error.__cause__ or ''}", hint="the node is malformed") from error
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        common.RemoveUnusedNodesPass()(model)
        infer_shapes(model)
        return ir.passes.PassResult(model, modified=len(list(model.graph)) != nodes)
