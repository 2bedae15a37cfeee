"""Fold what is known at compile time: shape chains, dequantised weights, arithmetic on constants."""

from __future__ import annotations

from math import prod

import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript.optimizer import fold_constants

from edgesparse.errors import InputError

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
            fold_constants(
                model, onnx_shape_inference=True, input_size_limit=_NO_LIMIT, output_size_limit=_NO_LIMIT,
                should_fold=_should_fold,
            )  # fmt: skip
        except RuntimeError as error:  # "Error during constant folding for node ...", and the cause
            raise InputError(f"{error}: {error.__cause__ or ''}", hint="the node is malformed") from error
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        common.RemoveUnusedNodesPass()(model)
        _infer_shapes(model)
        return ir.passes.PassResult(model, modified=len(list(model.graph)) != nodes)


def _infer_shapes(model: ir.Model) -> None:
    """onnx's shape inference, helped over GroupNormalization, for which onnx has no rule: its shape is its input's."""
    common.ShapeInferencePass(strict_mode=False, data_prop=False)(model)
    stuck = [n for n in model.graph if n.op_type == "GroupNormalization" and n.outputs[0].shape is None]
    for node in stuck:  # in the order of the graph: each may open the way to the next
        x, y = node.inputs[0], node.outputs[0]
        if x is not None and x.shape is not None and y.shape is None:
            y.shape, y.type = ir.Shape(x.shape), x.type
            common.ShapeInferencePass(strict_mode=False, data_prop=False)(model)
