"""LiteRT (TFLite) with XNNPACK, its default. On x86 with AVX XNNPACK never uses its sparse kernels.

The .tflite file is ours, see `bench.tflite.convert`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.engine import Array, Network

REQUIREMENTS = ("ai-edge-litert==2.3.0", "onnx>=1.20", "numpy")


def prepare(network: Network) -> LiteRT:
    return LiteRT(network)


class LiteRT:
    """Inputs and outputs are copied, and inputs turned to NHWC, outside of `run`."""

    def __init__(self, network: Network) -> None:
        import importlib.metadata

        from ai_edge_litert.interpreter import Interpreter

        from bench.tflite.convert import convert

        path = network.folder / "network.tflite"
        convert(network, path)
        self._interpreter = Interpreter(str(path), num_threads=network.threads)
        self._interpreter.allocate_tensors()
        self._shapes = tuple(network.outputs.values())
        self.version = importlib.metadata.version("ai-edge-litert")

    def feed(self, inputs: Sequence[Array]) -> None:
        for x, detail in zip(inputs, self._interpreter.get_input_details(), strict=True):
            nhwc = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
            self._interpreter.set_tensor(detail["index"], np.ascontiguousarray(nhwc))

    def run(self) -> None:
        self._interpreter.invoke()

    def outputs(self) -> list[Array]:
        details = self._interpreter.get_output_details()
        found = [np.asarray(self._interpreter.get_tensor(d["index"])) for d in details]
        found = [y.transpose(0, 3, 1, 2) if y.ndim == 4 else y for y in found]
        return [y.reshape(shape) for y, shape in zip(found, self._shapes, strict=True)]
