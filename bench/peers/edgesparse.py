"""Our own bundles, compiled for the CPU at hand and run in process."""

from __future__ import annotations

from collections.abc import Sequence

from bench.engine import Array, CannotRun, Network, aligned

REQUIREMENTS: tuple[str, ...] = ()


def prepare(network: Network) -> EdgeSparse:
    return EdgeSparse(network)


class EdgeSparse:
    """`run` is ``model_run`` of the library, and two small arrays of pointers."""

    def __init__(self, network: Network) -> None:
        from edgesparse import runtimes
        from edgesparse.compile import compile_model
        from edgesparse.errors import UnsupportedError
        from edgesparse.importer import load
        from edgesparse.version import __version__

        try:
            bundle = compile_model(load(network.onnx), "host", network.folder / "model.edge")
        except UnsupportedError as error:
            raise CannotRun(str(error)) from error
        # the worker is on its cores already
        self._session = runtimes.open(bundle, "local", pin=False, threads=network.threads)
        self._names = tuple(network.outputs)
        self._order = [list(network.inputs).index(port.name) for port in self._session.manifest.inputs]
        self.version = f"{__version__} {self._session.machine['isa']}"

    def feed(self, inputs: Sequence[Array]) -> None:
        self._sample = tuple(aligned(inputs[i]) for i in self._order)

    def run(self) -> None:
        (self._results,) = self._session.run_samples([self._sample])

    def outputs(self) -> list[Array]:
        ports = [port.name for port in self._session.manifest.outputs]
        return [self._results[ports.index(name)] for name in self._names]
