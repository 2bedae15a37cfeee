"""Language models in one form, before they are read: the visible order of passes that fuse what exporters write out.

Not a pass. None of it is for other models: the fused operators are those of opset 23.
"""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgesparse.passes.fold_constants import FoldConstants
from edgesparse.passes.fuse_attention import FuseAttention
from edgesparse.passes.fuse_rms_norm import FuseRmsNorm
from edgesparse.passes.fuse_rotary import FuseRotary
from edgesparse.passes.match import is_op, operand
from edgesparse.passes.pipeline import PassFactory

CANONICAL: tuple[PassFactory, ...] = (
    FoldConstants,  # gains like 1 + w, and chains that shapes go through
    FuseRmsNorm,
    FuseRotary,
    FuseAttention,  # behind FuseRotary only for the reader's sake: each finds its own
    common.RemoveUnusedNodesPass,
)


def canonical(model: ir.Model) -> None:
    """In place. A model whose attention is over a cache already is left alone: folding would undo halves."""
    attention = [node for node in model.graph if is_op(node, "Attention")]
    if attention and all(operand(node, 4) is not None for node in attention):
        return
    for factory in CANONICAL:
        factory()(model)
