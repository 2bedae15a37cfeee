"""The parent's side of `bench.worker`."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bench.engine import Array, CannotRun, Network
from bench.wire import Message, receive, send

PROJECT = Path(__file__).resolve().parent.parent
LIMIT_S = 900.0


class ChildFailure(Exception):
    """The engine raised, crashed or hung."""


class Child:
    """An engine in a process of its own, on the cores ``cpus``, one for each thread. A context manager: leaving it ends
    the process."""

    def __init__(self, peer: str, python: Path, cpus: Sequence[int]) -> None:
        # libgomp would otherwise start a thread per core, and keep them spinning while others are timed
        threads = str(len(cpus))
        environment = {
            **os.environ, "OMP_NUM_THREADS": threads, "TVM_NUM_THREADS": threads, "PYTHONPATH": str(PROJECT),
        }  # fmt: skip
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  (closed in __exit__)
        self._process = subprocess.Popen(
            [str(python), "-m", "bench.worker", peer, ",".join(map(str, cpus))], env=environment, cwd=PROJECT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words,
        )  # fmt: skip

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

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            # destructors of engines have been seen to hang, and results are in already
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._words.close()

    def _ask(self, **request: Any) -> Message:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            send(self._process.stdin, request)
            # replies are read whole, so that nothing of one can wait in the pipe's buffer unseen by select
            if not select.select([self._process.stdout], [], [], LIMIT_S)[0]:
                self._process.kill()
                raise ChildFailure(f"no answer to '{request['do']}' within {LIMIT_S:g} s; it was stopped")
            reply = receive(self._process.stdout)
        except (BrokenPipeError, ValueError) as error:
            raise ChildFailure(f"{self._end()}: {error}") from error
        if reply is None:
            raise ChildFailure(self._end())
        if "cannot" in reply:
            raise CannotRun(reply["cannot"])
        if "error" in reply:
            raise ChildFailure(reply["error"])
        return reply

    def _end(self) -> str:
        """How the process ended, and the last it said."""
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{how}: {lines[-1]}" if lines else how
