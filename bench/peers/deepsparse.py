"""DeepSparse 1.8, the last version free to use that this was checked with. Chooses sparse kernels by itself.

It reads ONNX files of an older form only, see `bench.older_onnx`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from bench.engine import Array, Network, aligned

REQUIREMENTS = ("deepsparse==1.8.0",)
PYTHONS = (10, 11)  # it has wheels for 3.8 to 3.11; this folder needs 3.10


def prepare(network: Network) -> DeepSparse:
    return DeepSparse(network)


class DeepSparse:
    def __init__(self, network: Network) -> None:
        os.environ["NM_DISABLE_ANALYTICS"] = "1"  # a benchmark reports to nobody
        import deepsparse

        from bench.older_onnx import save_older

        path = network.folder / "older.onnx"
        save_older(network.onnx, path, ir_version=9)
        self._engine = deepsparse.Engine(model=str(path), batch_size=1, num_cores=network.threads)
        self.version = str(deepsparse.__version__)

    def feed(self, inputs: Sequence[Array]) -> None:
        self._inputs = [aligned(x) for x in inputs]

    def run(self) -> None:
        # val_inp: its check of the inputs belongs to no inference
        self._results = self._engine.run(self._inputs, val_inp=False)

    def outputs(self) -> list[Array]:
        return list(self._results)
