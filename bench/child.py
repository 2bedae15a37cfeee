"""The parent's side of `bench.worker`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.engine import Array, CannotRun, Network
from bench.process import ChildFailure, Process
from bench.wire import Message, receive, send

PROJECT = Path(__file__).resolve().parent.parent
LIMIT_S = 900.0


class Child(Process):
    """An engine in a process of its own, on the cores ``cpus``, one for each thread."""

    def __init__(self, peer: str, python: Path, cpus: Sequence[int]) -> None:
        # libgomp would otherwise start a thread per core, and keep them spinning while others are timed
        threads = str(len(cpus))
        environment = {
            **os.environ, "OMP_NUM_THREADS": threads, "TVM_NUM_THREADS": threads, "PYTHONPATH": str(PROJECT),
        }  # fmt: skip
        command = [str(python), "-m", "bench.worker", peer, ",".join(map(str, cpus))]
        super().__init__(command, PROJECT, LIMIT_S, environment)

    def prepare(self, network: Network) -> str:
        """Convert and load; returns the engine's version.

        Raises:
            CannotRun: the engine does not take this network.
            ChildFailure: anything else went wrong.
        """
        version: str = self._ask(
            do="prepare", onnx=str(network.onnx), inputs=dict(network.inputs), outputs=dict(network.outputs),
            folder=str(network.folder), threads=network.threads,
        )["version"]  # fmt: skip
        return version

    def check(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for ``inputs``, which stay fed for `time`."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            given, returned = Path(folder, "in.npz"), Path(folder, "out.npz")
            np.savez(given, *inputs)
            self._ask(do="check", inputs_file=str(given), outputs_file=str(returned))
            with np.load(returned) as arrays:
                return list(arrays.values())

    def time(self, runs: int, warmup: int) -> Message:
        """As `bench.worker.time_runs`."""
        return self._ask(do="time", runs=runs, warmup=warmup)

    def _ask(self, **request: Any) -> Message:
        try:
            send(self.to, request)
            reply = receive(self.answer(request["do"]))
        except (BrokenPipeError, ValueError) as error:
            raise ChildFailure(f"{self.end()}: {error}") from error
        if reply is None:
            raise ChildFailure(self.end())
        if "cannot" in reply:
            raise CannotRun(reply["cannot"])
        if "error" in reply:
            raise ChildFailure(reply["error"])
        return reply
