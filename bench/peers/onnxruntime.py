"""onnxruntime, all graph optimisations on: the file as it is. It stores pruned weights densely."""

from __future__ import annotations

from collections.abc import Sequence

from bench.engine import Array, Network, aligned

REQUIREMENTS: tuple[str, ...] = ()


def prepare(network: Network) -> OnnxRuntime:
    return OnnxRuntime(network)


class OnnxRuntime:
    def __init__(self, network: Network) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = network.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(network.onnx), options, providers=["CPUExecutionProvider"])
        self._inputs, self._outputs = tuple(network.inputs), list(network.outputs)
        self.version = str(ort.__version__)

    def feed(self, inputs: Sequence[Array]) -> None:
        self._feeds = dict(zip(self._inputs, map(aligned, inputs), strict=True))

    def run(self) -> None:
        self._results = self._session.run(self._outputs, self._feeds)

    def outputs(self) -> list[Array]:
        return list(self._results)
