"""Runs a dense network and sparse versions of it in turns on this machine."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse import runtimes
from edgesparse.compile import compile_model
from edgesparse.devices import load_device
from edgesparse.runtimes import Session
from edgesparse.samples import random_inputs
from edgesparse.select import Candidate
from edgesparse.tune import alone
from edgesparse.types import Array, LoweredGraph, OpCall
from edgesparse.workspace import workspace

if TYPE_CHECKING:
    import onnx_ir as ir

TURNS = 15
TURN_S = 0.06  # of one network in one turn
KERNEL_TURN_S = 0.01  # of a kernel alone
MOST_RUNS, LEAST_RUNS = 300, 3


class Stopwatch:
    """``dense_ms``, and by `measure` the time of other versions of that network, on one core of this machine.

    Both run in turns, and what counts is the median of their ratio in each turn: other programs and a changing clock
    frequency slow down both.
    """

    def __init__(self, dense: Session, device: str) -> None:
        self._dense, self._device, self._target = dense, device, load_device(device).target
        self._inputs = random_inputs(dense.manifest)
        first = self._median_ms(dense, self._inputs, LEAST_RUNS)
        self._runs = max(LEAST_RUNS, min(MOST_RUNS, int(1000 * TURN_S / first)))
        self._few = max(1, min(MOST_RUNS, int(1000 * KERNEL_TURN_S / first)))
        self.dense_ms = statistics.median(self._median_ms(dense, self._inputs, self._runs) for _ in range(TURNS))

    def measure(self, model: ir.Model) -> float:
        """Milliseconds of ``model``: what it takes of the dense network's time in the same minute, times `dense_ms`."""
        with _opened(model, self._device) as session:
            return self._beside(session, self._inputs, self._runs, self._runs)

    def kernel_us(self, graph: LoweredGraph, call: OpCall, candidate: Candidate) -> float:
        """Microseconds of one call that runs alone, in the same way."""
        with alone(graph, call, candidate, self._target, "local") as session:
            inputs = random_inputs(session.manifest)
            us = max(1000 * self._median_ms(session, inputs, LEAST_RUNS), 1.0)
            runs = max(LEAST_RUNS, min(MOST_RUNS, int(KERNEL_TURN_S * 1e6 / us)))
            return 1000 * self._beside(session, inputs, runs, self._few)

    def _beside(self, session: Session, inputs: Mapping[str, Array], runs: int, dense_runs: int) -> float:
        ratios = []
        for _ in range(TURNS):
            dense = self._median_ms(self._dense, self._inputs, dense_runs)
            ratios.append(self._median_ms(session, inputs, runs) / dense)
        return statistics.median(ratios) * self.dense_ms

    def _median_ms(self, session: Session, inputs: Mapping[str, Array], runs: int) -> float:
        # one untimed run: the network before has emptied the caches
        return statistics.median(session.bench(inputs, num_runs=runs, warmup_runs=1).wall_ns) / 1e6


@contextmanager
def stopwatch(dense: ir.Model, device: str) -> Iterator[Stopwatch]:
    """A `Stopwatch` for versions of ``dense``, which is compiled for ``device``.

    Raises:
        InputError, UnsupportedError: as `compile_model`.
        RuntimeFailure: this machine cannot run it.
    """
    with ExitStack() as stack:
        yield Stopwatch(stack.enter_context(_opened(dense, device)), device)


@contextmanager
def _opened(model: ir.Model, device: str) -> Iterator[Session]:
    with workspace(Path(tempfile.gettempdir())) as folder:
        bundle = compile_model(model, device, folder / "timed.edge", name="timed")
        with runtimes.open(bundle, "local") as session:
            yield session
