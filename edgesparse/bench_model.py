"""A model compiled and timed in one go: dense, or dense and sparse in turns, so that what sparsity gains is seen.

Sparse here is one shot by magnitude: the time does not depend on how zeros are chosen, the answers do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse import runtimes
from edgesparse.compile import compile_model
from edgesparse.devices import Device
from edgesparse.errors import InputError
from edgesparse.manifest import Manifest
from edgesparse.runtimes.session import Session
from edgesparse.samples import random_inputs, read_inputs
from edgesparse.sparsify import SparsifyReport, sparsify
from edgesparse.starts import compared
from edgesparse.turns import by_start, turns
from edgesparse.types import RunResult
from edgesparse.workspace import workspace

if TYPE_CHECKING:
    import onnx_ir as ir

DENSE, SPARSE = "dense", "sparse"
OnProgress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Timed:
    """``name`` is dense or sparse; ``starts``: nanoseconds of the runs of each start."""

    name: str
    manifest: Manifest
    result: RunResult
    starts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class ModelBench:
    """``timed``: dense, and sparse where a pattern was given, which then is ``sparsified``. ``gain``: how many times as
    fast as dense sparse is, by medians, with the ends of its 95% interval."""

    device: Device
    timed: tuple[Timed, ...]
    sparsified: SparsifyReport | None = None
    gain: tuple[float, float, float] | None = None


def bench_model(
    model: ir.Model, device: Device, runtime: str = "auto", *, pattern: str = "", sparsity: float | None = None,
    input: Path | None = None, num_runs: int = 50, warmup_runs: int = 5, threads: int = 1, cores: str | None = None,
    keep: bool = False, on_progress: OnProgress | None = None,
) -> ModelBench:  # fmt: skip
    """Compile ``model``, which is left as it is, for ``device`` into a folder that is gone afterwards, and time it.

    Args:
        pattern, sparsity: as for `sparsify`; without them only the model as it is is timed.
        input: a file with one sample; None: random numbers.
        num_runs: timed runs of each of the two.
        cores, keep: for runtimes that have them.

    Raises:
        InputError: an option that cannot be used, or sparsity without a pattern.
        UnsupportedError: nodes that cannot be compiled.
        RuntimeFailure: the engine or the device failed.
    """
    if sparsity is not None and not pattern:
        raise InputError("a sparsity needs a pattern", where="--sparsity", hint="--pattern block:4x1")
    report, models = None, {DENSE: model}
    if pattern:
        models[SPARSE] = model.clone()
        report = sparsify(models[SPARSE], pattern, sparsity, "magnitude", on_progress=on_progress)
    with workspace(Path(tempfile.gettempdir())) as folder, ExitStack() as opened:
        sessions = {}
        for name, each in models.items():
            bundle = compile_model(each, device, folder / f"{name}.edge", on_progress=on_progress)
            options = {"keep": True} if keep else {}
            session = runtimes.open(bundle, runtime, threads=threads, on_push=on_progress, **options)
            sessions[name] = opened.enter_context(session)
            if cores is not None:
                session.use_cores(cores)
        timed = _in_turns(sessions, input, num_runs, warmup_runs, on_progress)
    gain = None
    if pattern:
        found = compared(timed[-1].starts, timed[0].starts, in_turns=True)
        gain = found.ratio, found.low, found.high
    return ModelBench(device, timed, report, gain)


def _in_turns(
    sessions: dict[str, Session], input: Path | None, num_runs: int, warmup_runs: int, on_progress: OnProgress | None
) -> tuple[Timed, ...]:
    """What else goes on on the device meets all of them."""
    manifest = next(iter(sessions.values())).manifest
    sample = random_inputs(manifest) if input is None else read_inputs(input, [p.name for p in manifest.inputs])
    each = list(sessions.values())
    results: list[list[RunResult]] = [[] for _ in each]
    anew: list[list[bool]] = [[] for _ in each]
    done, total = 0, num_runs * len(each)
    for turn in turns(each, num_runs):
        results[turn.index].append(each[turn.index].bench(sample, num_runs=turn.runs, warmup_runs=warmup_runs))
        anew[turn.index].append(turn.anew)
        done += turn.runs
        if on_progress is not None:
            on_progress(done, total, "in turns" if len(each) > 1 else "")
    found = []
    for name, parts, started in zip(sessions, results, anew, strict=True):
        starts = by_start([part.wall_ns for part in parts], started)
        whole = replace(parts[-1], wall_ns=tuple(ns for times in starts for ns in times))
        found.append(Timed(name, sessions[name].manifest, whole, starts))
    return tuple(found)
