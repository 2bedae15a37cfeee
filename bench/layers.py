"""Layers of well-known networks as calls of kernels, one at a time, with weights pruned in a pattern."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgesparse.ops import OPERATORS, Lowering
from edgesparse.pad import pad_planes
from edgesparse.patterns import parse_pattern
from edgesparse.types import Array, LoweredGraph, Node, Target, TensorSpec


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution, or a fully connected layer where ``size`` is 1; ``size`` is height and width of its input."""

    network: str
    inputs: int
    outputs: int
    size: int
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False

    @property
    def name(self) -> str:
        kind = "dw" if self.depthwise else "fc" if self.size == 1 else "conv"
        step = f" s{self.stride}" if self.stride > 1 else ""
        return f"{kind} {self.kernel}x{self.kernel}{step} {self.inputs}->{self.outputs} at {self.size}x{self.size}"

    @property
    def macs(self) -> int:
        """Multiply-adds if dense."""
        out = -(-self.size // self.stride)
        return self.outputs * (1 if self.depthwise else self.inputs) * self.kernel**2 * out**2


LAYERS = (
    Layer("mobilenet_v1", 3, 32, 224, 3, 2),
    Layer("mobilenet_v1", 32, 64, 112),
    Layer("mobilenet_v1", 64, 128, 56),
    Layer("mobilenet_v1", 128, 128, 56),
    Layer("mobilenet_v1", 128, 256, 28),
    Layer("mobilenet_v1", 256, 256, 28),
    Layer("mobilenet_v1", 256, 512, 14),
    Layer("mobilenet_v1", 512, 512, 14),
    Layer("mobilenet_v1", 512, 1024, 7),
    Layer("mobilenet_v1", 1024, 1024, 7),
    Layer("mobilenet_v1", 1024, 1000, 1),
    Layer("mobilenet_v1", 32, 32, 112, 3, 1, True),
    Layer("mobilenet_v1", 64, 64, 112, 3, 2, True),
    Layer("mobilenet_v1", 128, 128, 56, 3, 1, True),
    Layer("mobilenet_v1", 256, 256, 28, 3, 1, True),
    Layer("mobilenet_v1", 512, 512, 14, 3, 1, True),
    Layer("mobilenet_v1", 512, 512, 14, 3, 2, True),
    Layer("mobilenet_v1", 1024, 1024, 7, 3, 1, True),
    Layer("mobilenet_v2", 16, 96, 112),
    Layer("mobilenet_v2", 96, 24, 56),
    Layer("mobilenet_v2", 24, 144, 56),
    Layer("mobilenet_v2", 144, 32, 28),
    Layer("mobilenet_v2", 384, 96, 14),
    Layer("mobilenet_v2", 960, 160, 7),
    Layer("efficientnet_lite0", 240, 240, 28, 5, 1, True),
    Layer("efficientnet_lite0", 672, 672, 14, 5, 2, True),
    Layer("resnet50", 64, 64, 56, 3),
    Layer("resnet50", 128, 128, 28, 3),
    Layer("resnet50", 256, 256, 14, 3),
    Layer("resnet50", 512, 512, 7, 3),
)


def graph(layer: Layer, pattern: str, sparsity: float, target: Target) -> LoweredGraph:
    """The calls of ``layer``, a ReLU in its epilogue, planes padded as within a network."""
    random = np.random.default_rng(0)
    per_group = 1 if layer.depthwise else layer.inputs
    weight: Array = random.standard_normal((layer.outputs, per_group, layer.kernel, layer.kernel)).astype(np.float32)
    if sparsity and not layer.depthwise:
        weight = np.where(parse_pattern(pattern).mask(weight, sparsity), weight, np.float32(0))
    bias: Array = random.standard_normal(layer.outputs).astype(np.float32)
    out, pad = -(-layer.size // layer.stride), layer.kernel // 2
    specs = (
        TensorSpec("x", (1, layer.inputs, layer.size, layer.size), "f32"),
        TensorSpec("w", weight.shape, "f32"),
        TensorSpec("b", bias.shape, "f32"),
    )
    y = TensorSpec("y", (1, layer.outputs, out, out), "f32")
    attrs = {
        "strides": [layer.stride] * 2, "pads": [pad] * 4, "group": layer.inputs if layer.depthwise else 1,
        "es_act": "relu",
    }  # fmt: skip
    node = Node(layer.name, "Conv", "", 18, specs, (y,), attrs, {"w": weight, "b": bias})
    lowering = Lowering(tensors={s.name: s for s in (*specs, y)})
    OPERATORS["", "Conv"].lower(node, lowering)
    # without inputs and outputs of the graph all planes may be padded: here they are those of a layer in the middle
    lone = LoweredGraph(lowering.tensors, tuple(lowering.calls), lowering.constants, (), ())
    return replace(pad_planes(lone, target), inputs=("x",), outputs=("y",))
