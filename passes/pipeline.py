"""The visible order of the passes. SIMPLIFY keeps the model standard ONNX; OPTIMISE prepares lowering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgesparse.passes.cancel_transposes import CancelTransposes
from edgesparse.passes.dequantise_weights import DequantiseWeights
from edgesparse.passes.eliminate_nops import EliminateNops
from edgesparse.passes.fold_affine import FoldAffine
from edgesparse.passes.fold_batchnorm import FoldBatchnorm
from edgesparse.passes.fold_constants import FoldConstants
from edgesparse.passes.fold_pad import FoldPad
from edgesparse.passes.fuse_activation import FuseActivation
from edgesparse.passes.fuse_residual import FuseResidual
from edgesparse.passes.matmul_to_conv import MatmulToConv
from edgesparse.passes.merge_layouts import MergeLayouts

PassFactory = Callable[[], ir.passes.PassBase]

SIMPLIFY: tuple[PassFactory, ...] = (
    DequantiseWeights,  # constant folding leaves quantisation alone
    FoldConstants,  # early: shape chains and dequantised weights become constants others look for
    EliminateNops,  # what stands between nodes that others look for side by side
    FoldBatchnorm,  # needs constant weights
    common.CommonSubexpressionEliminationPass,
    CancelTransposes,  # before fusion: a Transpose between Conv and Relu would keep them apart
    MergeLayouts,  # what CancelTransposes brought together
    FoldConstants,  # the constants that moved through Transposes, and shapes behind them
    FoldPad,  # Pad and Conv are neighbours now that the Transposes are gone
    FoldAffine,  # the last of the arithmetic: what BatchNormalization and Transposes left behind
    common.RemoveUnusedNodesPass,  # what the others left without a reader
)

OPTIMISE: tuple[PassFactory, ...] = (
    FoldConstants,  # shapes are static now: the chains that depended on the batch fold too
    MatmulToConv,  # before fusion, which then finds convolutions; behind SIMPLIFY, for it is no gain to other runtimes
    MergeLayouts,  # the Transposes of MatmulToConv and those that attention has already
    FuseResidual,  # before activations: y = act(conv(x) + residual)
    FuseActivation,
    common.RemoveUnusedNodesPass,
)


@dataclass
class PassReport:
    """(pass name, whether it changed something) in the order they ran."""

    ran: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def modified(self) -> bool:
        return any(changed for _, changed in self.ran)


def simplify(model: ir.Model) -> PassReport:
    """Standard ONNX in, smaller standard ONNX out; in place. Symbolic batch dimensions may stay."""
    return _run(model, SIMPLIFY)


def optimise(model: ir.Model) -> PassReport:
    """In place; needs static shapes. The result is for `lower` only, not for other runtimes."""
    return _run(model, OPTIMISE)


def _run(model: ir.Model, passes: Sequence[PassFactory]) -> PassReport:
    report = PassReport()
    for factory in passes:
        result = factory()(model)
        report.ran.append((factory.__name__, result.modified))
    return report
