"""MNN with precision "high" (fp32 throughout). Its converter prepares for dense kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.engine import Array, CannotRun, Network, aligned

REQUIREMENTS = ("MNN==3.6.1", "numpy")


def prepare(network: Network) -> Mnn:
    return Mnn(network)


class Mnn:
    """`run` reads the outputs too: MNN may compute as late as that."""

    def __init__(self, network: Network) -> None:
        import importlib.metadata

        # not `MNN.tools.mnnconvert`, whose wrapper installs packages by itself
        import _tools
        from MNN import expr, nn

        path = network.folder / "network.mnn"
        arguments = ["-f", "ONNX", "--modelFile", str(network.onnx), "--MNNModel", str(path), "--bizCode", "bench"]
        if not _tools.mnnconvert(["mnnconvert", *arguments]) or not path.exists():
            raise CannotRun("MNN's converter does not take it")
        config = {"backend": 0, "numThread": network.threads, "precision": "high"}
        # kept: the module uses it but does not hold it
        self._runtime = nn.create_runtime_manager((config,))
        self._module = nn.load_module_from_file(
            str(path), list(network.inputs), list(network.outputs), runtime_manager=self._runtime
        )
        self._expr = expr
        self._network = network
        self.version = importlib.metadata.version("MNN")

    def feed(self, inputs: Sequence[Array]) -> None:
        self._arrays = [aligned(x) for x in inputs]
        self._inputs = [self._expr.const(x, list(x.shape), self._expr.NCHW) for x in self._arrays]

    def run(self) -> None:
        results = self._module.forward(self._inputs)
        results = results if isinstance(results, list | tuple) else [results]
        self._results = [y.read() for y in results]

    def outputs(self) -> list[Array]:
        shapes = self._network.outputs.values()
        return [np.array(y).reshape(shape) for y, shape in zip(self._results, shapes, strict=True)]
