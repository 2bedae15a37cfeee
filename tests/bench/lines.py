"""Stored results to report on. The figures are made up: nothing here was measured."""

from __future__ import annotations

from bench.results import TIMED, Result
from bench.summary import Summary


def result(
    engine: str, pattern: str, sparsity: float, ms: float | None, *, status: str = TIMED, reason: str = "",
    run: str = "2026-01-02T03:04:05+00:00",
) -> Result:  # fmt: skip
    """A line of MobileNetV1 with ``ms`` as its median."""
    summary = None if ms is None else Summary(ms, ms * 0.9, ms * 1.2, 30)
    return Result(
        run=run, command="python -m bench.networks --json out.json", model="mobilenet_v1", pattern=pattern,
        sparsity=sparsity, zeros=0.8 * sparsity, engine=engine, version="1.0", threads=1, status=status,
        reason=reason, max_rel_error=None if ms is None else 1e-6, cpu=summary, wall=summary,
        preempted=None if ms is None else 0,
        machine={
            "cpu": "a CPU", "flags": "avx2 fma", "cores": "2", "core": "1", "kernel": "Linux 6", "python": "3.11",
            "load_before": "1.00", "commit": "abc",
        },
    )  # fmt: skip
