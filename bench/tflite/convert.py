"""ONNX to .tflite: the networks of examples/models.py and their kin, as TensorFlow's converter would write them.

Activations of convolutions become NHWC, Relu and Relu6 are fused into the layer before, symmetric padding that
TensorFlow's SAME cannot say becomes a Pad. Pruned weights stay dense arrays, unless they are asked for as sparse
ones: XNNPACK, which runs them, takes those as its hint to look for zeros.
"""

from __future__ import annotations

from pathlib import Path

from bench.engine import CannotRun, Network
from bench.tflite import convolution, elementwise, shapes, transformer
from bench.tflite.converter import Converter
from bench.tflite.graph import Graph

CONVERSIONS = {
    **convolution.CONVERSIONS,
    **elementwise.CONVERSIONS,
    **shapes.CONVERSIONS,
    **transformer.CONVERSIONS,
}


def convert(network: Network, path: Path, *, sparse: bool = False) -> None:
    """``sparse``: weights of 1x1 convolutions with at least half zeros become compressed rows behind a Densify.

    Raises CannotRun with all operators that have no conversion, or with the first node that does not fit one."""
    graph = Graph(network.onnx)
    unknown = sorted({node.op_type for node in graph.nodes} - set(CONVERSIONS))
    if unknown:
        raise CannotRun(f"our conversion to .tflite has none for {', '.join(unknown)}")
    converter = Converter(graph, sparse=sparse)
    for name in network.inputs:
        converter.new(name, planes=len(graph.shape(name)) == 4)
    for node in graph.nodes:
        if not converter.done(node):
            CONVERSIONS[node.op_type](converter, node)
    index = converter.index
    converter.writer.write(path, [index[n] for n in network.inputs], [index[n] for n in network.outputs])
