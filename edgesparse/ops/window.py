"""The sliding window of convolutions and poolings: sizes, strides, padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesparse.ops.arguments import choice, misfit, where
from edgesparse.ops.operator import Unsupported
from edgesparse.types import Node

__all__ = ["Window", "check_weights", "padding", "where", "window"]


@dataclass(frozen=True)
class Window:
    """The two spatial dimensions of a convolution (a 1-D one has height 1)."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]
    out: tuple[int, int]


def padding(
    node: Node, size: Sequence[int], extent: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[int]]:
    """(before, after) of every spatial dimension: ``pads``, or what ``auto_pad`` comes to.

    ``extent`` is how far a window reaches. SAME gives ``ceil(size / stride)`` windows; the odd element of padding
    is the last one with SAME_UPPER, the first one with SAME_LOWER.

    Raises:
        InputError: an ``auto_pad`` that ONNX does not have, or pads besides one, or a window of nothing.
    """
    rank = len(size)
    pads = [int(p) for p in node.attrs.get("pads", [0] * (2 * rank))]
    auto = choice(node, "auto_pad", "NOTSET", ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"))
    if len(pads) != 2 * rank or min(strides, default=1) < 1 or min(extent, default=1) < 1:
        raise misfit(node, f"pads {pads}, strides {list(strides)} and a window over {list(extent)} elements")
    if auto != "NOTSET" and any(pads):
        raise misfit(node, f"pads {pads} besides auto_pad {auto}")
    if not auto.startswith("SAME"):
        return pads[:rank], pads[rank:]
    total = [max(0, (-(-n // s) - 1) * s + e - n) for n, s, e in zip(size, strides, extent, strict=True)]
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def window(node: Node, kernel_shape: Sequence[int]) -> Window:
    """Reads strides, pads, dilations and auto_pad; adds a leading dimension of 1 to 1-D ones."""
    x = node.inputs[0]
    assert x is not None
    rank = len(x.shape) - 2
    if rank not in (1, 2):
        raise Unsupported(
            f"{rank}-D convolution; 1-D and 2-D are supported", where=where(node),
            hint="split the convolution over its third dimension before exporting",
        )  # fmt: skip
    strides = node.attrs.get("strides", [1] * rank)
    dilations = node.attrs.get("dilations", [1] * rank)
    extent = [d * (k - 1) + 1 for d, k in zip(dilations, kernel_shape, strict=True)]
    before, after = padding(node, x.shape[2:], extent, strides)
    out = [(n + before[i] + after[i] - extent[i]) // strides[i] + 1 for i, n in enumerate(x.shape[2:])]

    def two(values: Sequence[int], fill: int) -> tuple[int, int]:
        return (fill, int(values[0])) if rank == 1 else (int(values[0]), int(values[1]))

    return Window(
        two(x.shape[2:], 1), two(kernel_shape, 1), two(strides, 1), two(dilations, 1),
        two(before, 0), two(after, 0), two(out, 1),
    )  # fmt: skip


def check_weights(node: Node, inputs: int, outputs: int) -> None:
    """ONNX's shape inference does not look at channels, and a kernel believes its caller.

    Raises:
        InputError: the input, the weights and the bias do not fit each other, or are empty.
    """
    x, w, bias = node.inputs[0], node.inputs[1], node.input(2)
    assert x is not None and w is not None
    groups = int(node.attrs.get("group", 1))
    given = f"weights {list(w.shape)}{f' and bias {list(bias.shape)}' if bias else ''}"
    fits = len(x.shape) == len(w.shape) and groups > 0 and w.shape[0] % groups == 0 and x.shape[1] == inputs
    if not fits or (bias is not None and bias.shape != (outputs,)):
        raise misfit(node, f"{given} in {groups} groups do not fit an input of shape {list(x.shape)}")
    if 0 in w.shape:
        raise misfit(node, f"{given} hold nothing")
    wanted = node.attrs.get("kernel_shape")
    if wanted is not None and tuple(wanted) != w.shape[2:]:
        raise misfit(node, f"{given} have no window of {list(wanted)}")
