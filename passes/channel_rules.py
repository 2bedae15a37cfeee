"""What operators do to the order of channels: a rule for each that keeps channels apart. No pass is defined here.

A rule ties the channels of its inputs in `ChannelClasses`, notes the constants that have them, and returns the layouts
of the outputs. A layout that is None has no channels that could move: what comes from inputs of the model, or a scalar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from edgesparse.passes.channel_moves import MOVES, Found, Layouts, Rule, axes, dims, rank_of
from edgesparse.passes.channel_ties import ChannelClasses, Layout
from edgesparse.passes.match import attribute_int, constant, is_op, operand

UNARY = frozenset(
    "Relu Clip Sigmoid Tanh LeakyRelu HardSigmoid HardSwish Elu Selu Celu Softplus Softsign Mish Gelu Erf Exp Log Sqrt "
    "Neg Abs Reciprocal Floor Ceil Round Sign ThresholdedRelu Identity Dropout Cast".split()
)
POOLS = frozenset("MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool".split())
BINARY = frozenset("Add Sub Mul Div Min Max Pow PRelu".split())
REDUCTIONS = frozenset(
    "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum ReduceLogSumExp"
    .split()
)  # fmt: skip
ALONG = frozenset("Softmax LogSoftmax Hardmax".split())  # mix what lies along their axis and, of old, behind it


def rule(node: ir.Node) -> Rule | None:
    """The rule of an operator, or None where there is none."""
    if node.domain not in ("", "ai.onnx"):
        return None
    for names, found in ((UNARY, _unary), (POOLS, _pool), (BINARY, _binary), (REDUCTIONS, _reduce), (ALONG, _along)):
        if node.op_type in names:
            return found
    return RULES.get(node.op_type)


def _unary(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    others = [v for v in node.inputs[1:] if v is not None]
    if any(c is None or c.size > 1 for c in map(constant, others)):
        return None
    return [inputs[0]]


def _pool(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    x = inputs[0]
    return [x] if x is None or x.axis == 1 else None  # a second output would be indices


def _resize(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    """Where the channels are not resized: the output has as many, by shape inference."""
    x, before, after = inputs[0], dims(operand(node, 0)), dims(node.outputs[0])
    if x is None:
        return [None]
    if any(inputs[1:]) or before is None or after is None or len(before) != len(after):
        return None
    same = before[x.axis] is not None and before[x.axis] == after[x.axis]
    return [x] if same and "axes" not in node.attributes and _mode(node) != "tf_crop_and_resize" else None


def _mode(node: ir.Node) -> str:
    found = node.attributes.get("coordinate_transformation_mode")
    return "" if found is None else found.as_string()


def _conv(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    x, weight, bias = inputs[0], constant(operand(node, 1)), operand(node, 2)
    if weight is None or (bias is not None and constant(bias) is None) or (x is not None and x.axis != 1):
        return None
    groups, transposed = attribute_int(node, "group", 1), is_op(node, "ConvTranspose")
    if groups == 1:
        if x is not None:
            found.member(node, 1, replace(x, axis=0 if transposed else 1))
        output = Layout(1, found.new(node, weight.shape[1 if transposed else 0]))
        found.member(node, 1, replace(output, axis=1 if transposed else 0))
    elif not transposed and weight.shape[1] == 1 and weight.shape[0] % groups == 0:
        if x is None:
            return [None]
        output = replace(x, inner=x.inner * (weight.shape[0] // groups))  # depthwise: several outputs of each channel
        found.member(node, 1, replace(output, axis=0))
    else:
        return None
    if bias is not None:
        found.member(node, 2, replace(output, axis=0))
    return [output]


def _gemm(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    x, weight, bias = inputs[0], constant(operand(node, 1)), operand(node, 2)
    added = constant(bias)
    if weight is None or attribute_int(node, "transA", 0) or (bias is not None and added is None):
        return None
    turned = attribute_int(node, "transB", 0)
    if x is not None and x.axis != 1:
        return None
    if x is not None:
        found.member(node, 1, replace(x, axis=1 if turned else 0))
    output = Layout(1, found.new(node, weight.shape[0 if turned else 1]))
    found.member(node, 1, replace(output, axis=0 if turned else 1))
    if added is not None and added.ndim and added.shape[-1] > 1:  # else the same for all channels
        found.member(node, 2, replace(output, axis=added.ndim - 1))
    return [output]


def _matmul(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    x, weight, rank = inputs[0], constant(operand(node, 1)), rank_of(operand(node, 0))
    if weight is None or weight.ndim != 2 or not rank or (x is not None and x.axis != rank - 1):
        return None
    if x is not None:
        found.member(node, 1, replace(x, axis=0))
    output = Layout(rank - 1, found.new(node, weight.shape[1]))
    found.member(node, 1, replace(output, axis=1))
    return [output]


def _normalization(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    x = inputs[0]
    if x is None:
        return [None]
    if x.axis != 1 or any(constant(v) is None for v in node.inputs[1:]):
        return None
    for index in range(1, len(node.inputs)):
        found.member(node, index, replace(x, axis=0))
    return [x]


def _layer_normalization(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    """Over channels too: their mean and variance do not depend on the order. Scale and bias do."""
    x, rank = inputs[0], rank_of(operand(node, 0))
    if x is None:
        return [None]
    if rank is None:
        return None
    first = attribute_int(node, "axis", -1) % rank
    others = [i for i in range(1, len(node.inputs)) if node.inputs[i] is not None]
    for index in others:
        array = constant(node.inputs[index])
        if array is None or array.ndim != rank - first:
            return None
        if x.axis >= first:
            if array.shape[x.axis - first] != x.channels * x.inner:
                return None
            found.member(node, index, replace(x, axis=x.axis - first))
    return [x]


def _binary(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    ranks = [rank_of(v) for v in node.inputs]
    known = [i for i, x in enumerate(inputs) if x is not None]
    if not known:
        return [None]
    if len(inputs) != 2 or ranks[0] is None or ranks[1] is None:
        return None
    rank = max(ranks[0], ranks[1])
    shifts = (rank - ranks[0], rank - ranks[1])  # broadcasting aligns the last axes
    placed = [None if x is None else replace(x, axis=x.axis + s) for x, s in zip(inputs, shifts, strict=True)]
    output = placed[known[0]]
    assert output is not None
    if len(known) == 2:
        second = placed[1]
        assert second is not None
        return [output] if output.axis == second.axis and found.tie_all(output, second) else None
    other = 1 - known[0]
    axis, shape = output.axis - shifts[other], dims(node.inputs[other])
    if axis < 0 or (shape is not None and shape[axis] == 1):
        return [output]  # the same for all channels
    array = constant(node.inputs[other])
    if array is None or array.shape[axis] != output.channels * output.inner:
        return None
    found.member(node, other, replace(output, axis=axis))
    return [output]


def _reduce(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    """None depends on the order in which it reads, but for rounding: over channels too."""
    x, rank = inputs[0], rank_of(operand(node, 0))
    if x is None:
        return [None]
    gone = None if rank is None else axes(node, rank)
    if gone is None:
        return None
    if x.axis in gone:
        return [None]
    return [x if attribute_int(node, "keepdims", 1) else replace(x, axis=x.axis - sum(a < x.axis for a in gone))]


def _along(found: ChannelClasses, node: ir.Node, inputs: Layouts) -> Found:
    x, rank = inputs[0], rank_of(operand(node, 0))
    if x is None:
        return [None]
    return [x] if rank and "axis" in node.attributes and x.axis < attribute_int(node, "axis", -1) % rank else None


RULES: Mapping[str, Rule] = {
    "Conv": _conv, "ConvTranspose": _conv, "Gemm": _gemm, "MatMul": _matmul, "BatchNormalization": _normalization,
    "InstanceNormalization": _normalization, "LayerNormalization": _layer_normalization, "Resize": _resize,
    "Upsample": _resize, **MOVES,
}  # fmt: skip
