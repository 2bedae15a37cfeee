"""The sliding window of convolutions and poolings: sizes, strides, padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesparse.errors import InputError
from edgesparse.ops.operator import Unsupported
from edgesparse.types import Node


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


def where(node: Node) -> str:
    shapes = " ".join("x".join(map(str, s.shape)) for s in node.inputs if s)
    return f"{node.op_type} '{node.name}' ({shapes})"


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
    pads = list(node.attrs.get("pads", [0] * (2 * rank)))
    auto = node.attrs.get("auto_pad", "NOTSET")
    extent = [d * (k - 1) + 1 for d, k in zip(dilations, kernel_shape, strict=True)]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        total = [max(0, (-(-n // s) - 1) * s + e - n) for n, s, e in zip(x.shape[2:], strides, extent, strict=True)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = small + large if auto == "SAME_UPPER" else large + small
    elif auto == "VALID":
        pads = [0] * (2 * rank)
    out = [(n + pads[i] + pads[rank + i] - extent[i]) // strides[i] + 1 for i, n in enumerate(x.shape[2:])]

    def two(values: Sequence[int], fill: int) -> tuple[int, int]:
        return (fill, int(values[0])) if rank == 1 else (int(values[0]), int(values[1]))

    return Window(
        two(x.shape[2:], 1), two(kernel_shape, 1), two(strides, 1), two(dilations, 1),
        two(pads[:rank], 0), two(pads[rank:], 0), two(out, 1),
    )  # fmt: skip


def check_weights(node: Node, inputs: int, outputs: int) -> None:
    """ONNX's shape inference does not look at channels, and a kernel believes its caller.

    Raises:
        InputError: the input, the weights and the bias do not fit each other.
    """
    x, w, bias = node.inputs[0], node.inputs[1], node.input(2)
    assert x is not None and w is not None
    groups = int(node.attrs.get("group", 1))
    fits = len(x.shape) == len(w.shape) and groups > 0 and w.shape[0] % groups == 0 and x.shape[1] == inputs
    if not fits or (bias is not None and bias.shape != (outputs,)):
        raise InputError(
            f"weights {list(w.shape)}{f' and bias {list(bias.shape)}' if bias else ''} in {groups} groups do not fit "
            f"an input of shape {list(x.shape)}", where=where(node), hint="the file is damaged, or a --shape is wrong",
        )  # fmt: skip
