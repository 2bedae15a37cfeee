"""The limits of a core, measured on the device: multiply-adds a second, and bytes read a second from each cache.

The probes are kernels like those of models, in a bundle like any other: whatever runs a bundle runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from edgesparse.devices import Cluster
from edgesparse.errors import RuntimeFailure
from edgesparse.ops.probe import MACS_PER_ROUND, READ_MULTIPLE
from edgesparse.samples import random_inputs
from edgesparse.select import select
from edgesparse.tune import opened
from edgesparse.types import LoweredGraph, OpCall, Target, TensorSpec

MEMORY_BYTES = 64 << 20
"""What is read as memory: several times the last cache of phones and boards."""
LAST_CACHE_TIMES, MOST_BYTES = 4, 256 << 20
FEW_FMA = 2_000  # rounds that take milliseconds at most, even in an emulator
PILOTS = 3
PROBE_NS = 2e6  # of one run of one probe: long beside its call, short beside a time slice
RUNS, WARMUP_RUNS = 25, 2
BUSY = 1.15
"""From so many times the best on, the median of a probe's runs tells of other work on the device."""
X, BUFFER = "x", "buffer"


@dataclass(frozen=True, slots=True)
class Limits:
    """``gflops``: two for each f32 multiply-add; ``read_gbs``: by where the data lies. One core alone, at its best.
    ``disturbed``: the median time of the multiply-adds over the best one."""

    gflops: float
    read_gbs: Mapping[str, float]
    disturbed: float


def working_sets(cluster: Cluster) -> dict[str, int]:
    """Bytes that lie in each level of ``cluster``: half of what it holds; and some that no cache holds, which are read
    first, when those just written are still on their way to memory."""
    known = {"l1": cluster.l1d_kb, "l2": cluster.cache_bytes // 1024 if cluster.l2_kb else None, "l3": cluster.l3_kb}
    sets = {level: kb * 512 for level, kb in known.items() if kb}
    memory = min(max(MEMORY_BYTES, LAST_CACHE_TIMES * 1024 * (cluster.l3_kb or 0)), MOST_BYTES)
    return {"memory": memory, **sets}


def probe(target: Target, sets: Mapping[str, int], runtime: str, cores: str = "") -> Limits:
    """Run the probes for ``target``; ``cores`` as in `Session.use_cores`, "" leaves the choice to the runtime.

    Raises:
        InputError: the runtime cannot choose cores.
        RuntimeFailure: it failed, cannot time kernel calls, or its clock is too coarse.
    """
    rounds = {"fma": FEW_FMA, **dict.fromkeys(sets, 1)}
    times = _times_ns(target, sets, rounds, runtime, cores)
    for _ in range(PILOTS):  # the first are too short to say how long a round takes
        if min(map(min, times.values())) >= PROBE_NS / 2:
            break
        rounds = {name: max(1, int(n * PROBE_NS / max(min(times[name]), 1.0))) for name, n in rounds.items()}
        times = _times_ns(target, sets, rounds, runtime, cores)
    best = {name: min(found) for name, found in times.items()}  # a limit is what was reached once
    if not all(best.values()):
        raise RuntimeFailure("the probes took no time by its clock", where=runtime, hint="try another runtime")
    read = {level: floats(bytes_) * 4 * rounds[level] / best[level] for level, bytes_ in sets.items()}
    disturbed = median(times["fma"]) / best["fma"]
    return Limits(2 * MACS_PER_ROUND * rounds["fma"] / best["fma"], read, disturbed)


def floats(bytes_: int) -> int:
    """So many as can be read of ``bytes_``."""
    return max(READ_MULTIPLE, bytes_ // 4 // READ_MULTIPLE * READ_MULTIPLE)


def _times_ns(
    target: Target, sets: Mapping[str, int], rounds: Mapping[str, int], runtime: str, cores: str
) -> dict[str, tuple[int, ...]]:
    """Of each probe in each run."""
    graph = _graph(sets, rounds)
    with opened(select(graph, target), target, runtime) as session:
        if cores:
            session.use_cores(cores)
        timed = session.time_calls(random_inputs(session.manifest), RUNS, WARMUP_RUNS)
    by_call = dict(zip((call.name for call in graph.calls), zip(*timed.call_ns, strict=True), strict=True))
    return {name: by_call[name] for name in rounds}


def _graph(sets: Mapping[str, int], rounds: Mapping[str, int]) -> LoweredGraph:
    """One call for each probe. The buffer is written first: pages that nobody has written to are all the same one."""
    size = max(map(floats, sets.values()))
    specs = [TensorSpec(X, (2,), "f32"), TensorSpec(BUFFER, (size,), "f32")]
    outputs = [TensorSpec(name, (1,), "f32") for name in rounds]
    calls = [OpCall("fma", "probe_fma", (X,), ("fma",), {"rounds": rounds["fma"]}, "fma")]
    calls.append(OpCall(BUFFER, "fill", (), (BUFFER,), {"size": size, "value": 0}, BUFFER))
    for level, bytes_ in sets.items():
        attrs = {"floats": floats(bytes_), "rounds": rounds[level]}
        calls.append(OpCall(level, "probe_read", (BUFFER,), (level,), attrs, level))
    tensors = {spec.name: spec for spec in (*specs, *outputs)}
    return LoweredGraph(tensors, tuple(calls), {}, (X,), tuple(spec.name for spec in outputs))
