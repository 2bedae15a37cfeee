"""A network of MobileNetV1's shape with random weights: what the demo page races, dense and sparse."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from edgesparse.patterns import parse_pattern
from edgesparse.types import Array

OPSET = 17
IMAGE, CLASSES, ENTRY = 224, 1000, 32
# Output channels of each pointwise convolution, and the stride of the depthwise one before it.
ROWS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def mobilenet_shape(width: float = 1.0, pattern: str = "", sparsity: float = 0.0, seed: int = 0) -> ir.Model:
    """``image`` (1, 3, 224, 224) -> ``logits`` (1, 1000); BatchNorm is folded into the convolutions already.

    ``width`` scales all channels. The pointwise convolutions have zeros in ``pattern``: they hold 95% of the
    multiplications. Whatever the sparsity, what is kept is of the same dense weights, scaled so that activations keep
    their size through the depth, as they do in a trained network.

    Source: Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications".
    """
    random = np.random.default_rng(seed)
    net = _Network()
    channels = _scaled(ENTRY, width)
    x = net.conv("entry", "image", _normal(random, (channels, 3, 3, 3)), stride=2)
    for number, (wide, stride) in enumerate(ROWS, 1):
        x = net.conv(f"depthwise{number}", x, _normal(random, (channels, 1, 3, 3)), stride, groups=channels)
        weight = _normal(random, (_scaled(wide, width), channels, 1, 1))
        x = net.conv(f"pointwise{number}", x, _pruned(weight, pattern, sparsity) if sparsity else weight)
        channels = len(weight)
    x = net.add("GlobalAveragePool", "pool", [x])
    x = net.add("Flatten", "flatten", [x])
    classifier = net.constant("classifier_w", _normal(random, (CLASSES, channels)))
    net.nodes.append(helper.make_node("Gemm", [x, classifier], ["logits"], "classifier", transB=1))
    f32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        net.nodes, "mobilenet_v1_shape", [helper.make_tensor_value_info("image", f32, [1, 3, IMAGE, IMAGE])],
        [helper.make_tensor_value_info("logits", f32, [1, CLASSES])], net.constants,
    )  # fmt: skip
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8))


class _Network:
    """Nodes and constants as they are added; each method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: Array) -> str:
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op: str, name: str, inputs: list[str], **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_y"], name, **attributes))
        return f"{name}_y"

    def conv(self, name: str, x: str, weight: Array, stride: int = 1, groups: int = 1) -> str:
        """Convolution without bias, and ReLU."""
        kernel = weight.shape[2]
        y = self.add(
            "Conv", name, [x, self.constant(f"{name}_w", weight)], group=groups, strides=[stride] * 2,
            pads=[kernel // 2] * 4, kernel_shape=[kernel] * 2,
        )  # fmt: skip
        return self.add("Relu", f"{name}_relu", [y])


def _scaled(channels: int, width: float) -> int:
    """A multiple of 8, so that blocks of channels fit."""
    return max(8, round(channels * width / 8) * 8)


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """He et al. 2015, "Delving Deep into Rectifiers": the variance is 2 over the inputs of a neuron."""
    scale = (2 / np.prod(shape[1:])) ** 0.5
    return (random.standard_normal(shape) * scale).astype(np.float32)


def _pruned(weight: Array, pattern: str, sparsity: float) -> Array:
    kept = np.where(parse_pattern(pattern).mask(np.abs(weight), sparsity), weight, np.float32(0))
    scaled: Array = kept * np.float32(np.sqrt(np.square(weight).sum() / np.square(kept).sum()))
    return scaled
