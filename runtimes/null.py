"""Runs nothing: outputs are zeros, every run takes a microsecond, and each call is recorded.

For trying what surrounds a runtime (the command line) without compiled code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgesparse.manifest import Manifest
from edgesparse.runtimes.arrays import Sample
from edgesparse.runtimes.session import Progress, Session
from edgesparse.types import DTYPES

KINDS = ("shared", "executable", "wasm")


def open(bundle: Path, manifest: Manifest, *, threads: int = 1) -> NullSession:
    return NullSession(bundle, manifest, {"runtime": "null", "timing": "none", "threads": str(threads)})


class NullSession(Session):
    """``calls`` holds ("run", number of samples), ("bench", runs, warm-up runs) and ("close",)."""

    def __init__(self, bundle: Path, manifest: Manifest, machine: dict[str, str]) -> None:
        super().__init__(bundle, manifest, machine)
        self.calls: list[tuple[str | int, ...]] = []

    def run_samples(self, samples: Sequence[Sample]) -> list[Sample]:
        self.calls.append(("run", len(samples)))
        return [self._zeros() for _ in samples]

    def time_sample(
        self, sample: Sample, num_runs: int, warmup_runs: int, on_progress: Progress | None
    ) -> tuple[Sample, tuple[int, ...]]:
        self.calls.append(("bench", num_runs, warmup_runs))
        if on_progress is not None:
            on_progress(num_runs, num_runs)
        return self._zeros(), (1000,) * num_runs

    def close(self) -> None:
        self.calls.append(("close",))

    def _zeros(self) -> Sample:
        return tuple(np.zeros(port.shape, DTYPES[port.dtype]) for port in self.manifest.outputs)
