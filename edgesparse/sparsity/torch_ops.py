"""ONNX operators as torch functions, for `torch_graph`. Imports torch: only ever imported once it is known to be there.

Not onnx2torch: version 1.5.15 knows no operator of opset 18 that changed in it (ReduceMean, Split, Pad), in which torch
exports, and needs torchvision; here the names of initializers stay those of the parameters that are trained.
Longer than most files, for it is one short function after the other, and the table of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional as F

from edgesparse.passes.match import attribute_float, attribute_int, attribute_string, constant, operand

Function = Callable[..., Tensor | tuple[Tensor, ...]]
Builder = Callable[[ir.Node, int], Function]
"""(node, opset) -> what computes its outputs from its inputs. Raises `NoFunction` for options that it cannot."""


class NoFunction(Exception):
    """An option of a node for which there is no torch function here; the text says which."""


def _ints(node: ir.Node, name: str, default: Sequence[int]) -> list[int]:
    found = node.attributes.get(name)
    return list(default) if found is None else [int(i) for i in found.as_ints()]


def _given(node: ir.Node, index: int, attribute: str = "") -> list[int] | None:
    """Integers that are an input in newer opsets and an attribute in older ones; None where they are omitted."""
    if attribute and attribute in node.attributes:
        return [int(i) for i in node.attributes[attribute].as_ints()]
    value = operand(node, index)
    if value is None:
        return None
    array = constant(value)
    if array is None:
        raise NoFunction(f"input {index} ('{value.name}') is not constant")
    return [int(i) for i in array.reshape(-1)]


def _pads(node: ir.Node, x: Tensor, kernel: Sequence[int]) -> list[int]:
    """(begin..., end...) of a window operator, also where ``auto_pad`` says them."""
    rank = len(kernel)
    auto = attribute_string(node, "auto_pad", "NOTSET")
    if auto == "NOTSET":
        return _ints(node, "pads", [0] * 2 * rank)
    if auto == "VALID":
        return [0] * 2 * rank
    begin, end = [], []
    strides, dilations = _ints(node, "strides", [1] * rank), _ints(node, "dilations", [1] * rank)
    for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        small, large = total // 2, total - total // 2
        begin.append(small if auto == "SAME_UPPER" else large)
        end.append(large if auto == "SAME_UPPER" else small)
    return begin + end


def _padded(x: Tensor, pads: Sequence[int], value: float = 0.0) -> Tensor:
    """``pads`` as ONNX has them, of the last dimensions; torch wants them from the last one on, in pairs."""
    rank = len(pads) // 2
    pairs = [p for i in reversed(range(rank)) for p in (pads[i], pads[rank + i])]
    return F.pad(x, pairs, value=value) if any(pairs) else x


def _rank(node: ir.Node, kernel: Sequence[int]) -> int:
    if not 1 <= len(kernel) <= 3:
        raise NoFunction(f"{len(kernel)} spatial dimensions")
    return len(kernel)


def _conv(node: ir.Node, opset: int) -> Function:
    convolve = (F.conv1d, F.conv2d, F.conv3d)
    group = attribute_int(node, "group", 1)

    def run(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        kernel = list(w.shape[2:])
        rank, pads = len(kernel), _pads(node, x, kernel)
        strides, dilations = _ints(node, "strides", [1] * rank), _ints(node, "dilations", [1] * rank)
        if rank == 2 and not torch._C._functorch.is_batchedtensor(x):
            x = x.contiguous(memory_format=torch.channels_last)  # three times as fast on CPUs
        if pads[:rank] == pads[rank:]:
            return convolve[rank - 1](x, w, b, strides, pads[:rank], dilations, group)
        return convolve[rank - 1](_padded(x, pads), w, b, strides, 0, dilations, group)

    return run


def _conv_transpose(node: ir.Node, opset: int) -> Function:
    convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
    if attribute_string(node, "auto_pad", "NOTSET") != "NOTSET" or "output_shape" in node.attributes:
        raise NoFunction("auto_pad or output_shape")

    def run(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        rank = w.ndim - 2
        pads = _ints(node, "pads", [0] * 2 * rank)
        y = convolve[rank - 1](
            x, w, b, _ints(node, "strides", [1] * rank), 0, _ints(node, "output_padding", [0] * rank),
            attribute_int(node, "group", 1), _ints(node, "dilations", [1] * rank),
        )  # fmt: skip
        return _padded(y, [-p for p in pads])

    return run


def _max_pool(node: ir.Node, opset: int) -> Function:
    kernel = _ints(node, "kernel_shape", ())
    rank, ceil = _rank(node, kernel), bool(attribute_int(node, "ceil_mode", 0))
    if len(node.outputs) > 1:
        raise NoFunction("the indices of the maxima")
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
    strides, dilations = _ints(node, "strides", [1] * rank), _ints(node, "dilations", [1] * rank)

    def run(x: Tensor) -> Tensor:
        padded = _padded(x, _pads(node, x, kernel), float("-inf"))
        y: Tensor = pool(padded, kernel, strides, 0, dilations, ceil_mode=ceil)
        return y

    return run


def _average_pool(node: ir.Node, opset: int) -> Function:
    kernel = _ints(node, "kernel_shape", ())
    rank = _rank(node, kernel)
    if attribute_int(node, "ceil_mode", 0) or any(d != 1 for d in _ints(node, "dilations", [1] * rank)):
        raise NoFunction("ceil_mode or dilations")
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[rank - 1]
    strides, all_count = _ints(node, "strides", [1] * rank), bool(attribute_int(node, "count_include_pad", 0))

    def run(x: Tensor) -> Tensor:
        pads = _pads(node, x, kernel)
        y = pool(_padded(x, pads), kernel, strides)
        if any(pads) and not all_count:
            ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
            y = y / pool(_padded(ones, pads), kernel, strides)
        return y

    return run


def _gemm(node: ir.Node, opset: int) -> Function:
    alpha, beta = attribute_float(node, "alpha", 1.0), attribute_float(node, "beta", 1.0)
    first, second = attribute_int(node, "transA", 0), attribute_int(node, "transB", 0)

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        y = (a.mT if first else a) @ (b.mT if second else b)
        y = y if alpha == 1.0 else alpha * y
        return y if c is None else y + (c if beta == 1.0 else beta * c)

    return run


def _reduce(function: Callable[[Tensor, list[int], bool], Tensor]) -> Builder:
    def build(node: ir.Node, opset: int) -> Function:
        axes, keep = _given(node, 1, "axes"), bool(attribute_int(node, "keepdims", 1))
        if not axes and attribute_int(node, "noop_with_empty_axes", 0):
            return lambda x, *_: x
        return lambda x, *_: function(x, axes or list(range(x.ndim)), keep)

    return build


def _softmax(function: Callable[..., Tensor]) -> Builder:
    def build(node: ir.Node, opset: int) -> Function:
        axis = attribute_int(node, "axis", -1 if opset >= 13 else 1)
        if opset >= 13:
            return lambda x: function(x, dim=axis)
        return lambda x: function(x.flatten(axis), dim=-1).reshape(x.shape)  # of all axes behind it, together

    return build


def _reshape(node: ir.Node, opset: int) -> Function:
    wanted, copies = constant(operand(node, 1)), not attribute_int(node, "allowzero", 0)

    def run(x: Tensor, shape: Tensor) -> Tensor:
        dims = [int(d) for d in (shape.tolist() if wanted is None else wanted)]
        return x.reshape([x.shape[i] if d == 0 and copies else d for i, d in enumerate(dims)])

    return run


def _flatten(node: ir.Node, opset: int) -> Function:
    axis = attribute_int(node, "axis", 1)
    return lambda x: x.reshape(int(torch.Size(x.shape[: axis % (x.ndim + 1) if axis < 0 else axis]).numel()), -1)


def _transpose(node: ir.Node, opset: int) -> Function:
    order = _ints(node, "perm", ())
    return lambda x: x.permute(order or tuple(reversed(range(x.ndim))))


def _split(node: ir.Node, opset: int) -> Function:
    axis, parts, count = attribute_int(node, "axis", 0), _given(node, 1, "split"), len(node.outputs)

    def run(x: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        each = -(-x.shape[axis] // count)
        return tuple(torch.split(x, parts if parts is not None else each, axis))

    return run


def _slice(node: ir.Node, opset: int) -> Function:
    starts, ends = _given(node, 1), _given(node, 2)
    if starts is None or ends is None:
        raise NoFunction("an opset before 10")
    axes, steps = _given(node, 3) or list(range(len(starts))), _given(node, 4) or [1] * len(starts)
    if any(s < 1 for s in steps):
        raise NoFunction("a negative step")

    def run(x: Tensor, *_: Tensor) -> Tensor:
        index = [slice(None)] * x.ndim
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            index[axis] = slice(start, min(end, x.shape[axis]), step)
        return x[tuple(index)]

    return run


def _pad(node: ir.Node, opset: int) -> Function:
    mode = attribute_string(node, "mode", "constant")
    pads, axes = _given(node, 1, "pads"), _given(node, 3)
    filler = constant(operand(node, 2))
    value = 0.0 if filler is None else float(filler.reshape(-1)[0])
    if pads is None or axes is not None or mode != "constant":
        raise NoFunction(f"mode '{mode}' or axes")
    return lambda x, *_: _padded(x, pads, value)


def _squeeze(node: ir.Node, opset: int) -> Function:
    axes = _given(node, 1, "axes")
    return lambda x, *_: x.squeeze() if axes is None else x.squeeze(axes)


def _unsqueeze(node: ir.Node, opset: int) -> Function:
    axes = _given(node, 1, "axes") or []

    def run(x: Tensor, *_: Tensor) -> Tensor:
        rank = x.ndim + len(axes)
        for axis in sorted(a % rank for a in axes):
            x = x.unsqueeze(axis)
        return x

    return run


def _gather(node: ir.Node, opset: int) -> Function:
    axis = attribute_int(node, "axis", 0)

    def run(x: Tensor, index: Tensor) -> Tensor:
        at = torch.where(index < 0, index + x.shape[axis], index)
        shape = (*x.shape[: axis % x.ndim], *at.shape, *x.shape[axis % x.ndim + 1 :])
        return torch.index_select(x, axis, at.reshape(-1)).reshape(shape)

    return run


def _batch_norm(node: ir.Node, opset: int) -> Function:
    epsilon = attribute_float(node, "epsilon", 1e-5)
    if len(node.outputs) > 1 or attribute_int(node, "training_mode", 0):
        raise NoFunction("training mode")

    def run(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        by_channel = [1, -1, *[1] * (x.ndim - 2)]
        factor = scale / torch.sqrt(variance + epsilon)
        return x * factor.reshape(by_channel) + (bias - mean * factor).reshape(by_channel)

    return run


def _layer_norm(node: ir.Node, opset: int) -> Function:
    axis, epsilon = attribute_int(node, "axis", -1), attribute_float(node, "epsilon", 1e-5)
    if len(node.outputs) > 1:
        raise NoFunction("the mean and deviation as outputs")

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        y = F.layer_norm(x, list(x.shape[axis:]), eps=epsilon) * scale
        return y if bias is None else y + bias

    return run


def _clip(node: ir.Node, opset: int) -> Function:
    low = constant(operand(node, 1))
    high = constant(operand(node, 2))
    if (low is None and operand(node, 1) is not None) or (high is None and operand(node, 2) is not None):
        raise NoFunction("bounds that are not constant")
    least, most = (None if a is None else float(a.reshape(-1)[0]) for a in (low, high))
    if least is None and most is None:
        return lambda x, *_: x
    return lambda x, *_: torch.clamp(x, least, most)


def _prelu(node: ir.Node, opset: int) -> Function:
    return lambda x, slope: torch.where(x < 0, x * slope, x)


def _depth_to_space(node: ir.Node, opset: int) -> Function:
    block, mode = attribute_int(node, "blocksize", 1), attribute_string(node, "mode", "DCR")

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        inner = c // block**2
        if mode == "DCR":
            return x.reshape(n, block, block, inner, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, inner, h * block, -1)
        return x.reshape(n, inner, block, block, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, inner, h * block, -1)

    return run


def _hard_sigmoid(node: ir.Node, opset: int) -> Function:
    alpha, beta = attribute_float(node, "alpha", 0.2), attribute_float(node, "beta", 0.5)
    return lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0)


def _plain(function: Function) -> Builder:
    return lambda node, opset: function


def _with(name: str, default: float, function: Callable[[Tensor, float], Tensor]) -> Builder:
    def build(node: ir.Node, opset: int) -> Function:
        value = attribute_float(node, name, default)
        return lambda x: function(x, value)

    return build


OPERATORS: Mapping[str, Builder] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _plain(torch.matmul),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _plain(lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True)),
    "GlobalMaxPool": _plain(lambda x: x.amax(tuple(range(2, x.ndim)), keepdim=True)),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Concat": lambda node, opset: lambda *xs: torch.cat(xs, attribute_int(node, "axis", 0)),
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Gather": _gather,
    "DepthToSpace": _depth_to_space,
    "Shape": _plain(lambda x: torch.tensor(x.shape)),
    "Add": _plain(torch.add),
    "Sub": _plain(torch.sub),
    "Mul": _plain(torch.mul),
    "Div": _plain(torch.div),
    "Pow": _plain(torch.pow),
    "Min": _plain(torch.minimum),
    "Max": _plain(torch.maximum),
    "Clip": _clip,
    "PRelu": _prelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain(F.hardswish),
    "LeakyRelu": _with("alpha", 0.01, F.leaky_relu),
    "Elu": _with("alpha", 1.0, F.elu),
    "Gelu": lambda node, opset: lambda x: F.gelu(x, approximate=attribute_string(node, "approximate", "none")),
    "Relu": _plain(torch.relu),
    "Sigmoid": _plain(torch.sigmoid),
    "Tanh": _plain(torch.tanh),
    "Softplus": _plain(F.softplus),
    "Mish": _plain(F.mish),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Log": _plain(torch.log),
    "Sqrt": _plain(torch.sqrt),
    "Abs": _plain(torch.abs),
    "Neg": _plain(torch.neg),
    "Reciprocal": _plain(torch.reciprocal),
    "Identity": _plain(lambda x: x),
    "Dropout": _plain(lambda x, *_: x),
}
