"""Measure a device: what its cores can do at most, and how far predictions of kernels are off on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import exp, log

from edgesparse.attached import connect, machine_facts
from edgesparse.compile import lowered
from edgesparse.devices import Device, load_device
from edgesparse.devices.measured import Measured, MeasuredCluster, as_measured, write_measured
from edgesparse.errors import RuntimeFailure
from edgesparse.ops.view import PLACED
from edgesparse.probe import Limits, probe, working_sets
from edgesparse.reference_model import reference_model
from edgesparse.select import Candidate, candidates, other_us
from edgesparse.tune import measure
from edgesparse.tuned import forget_factors, remember_factors, tuned_path
from edgesparse.types import LoweredGraph, OpCall, Target

Progress = Callable[[int, int, str], None]
DEVICES = ("adb", "ssh")
CHOOSING = (*DEVICES, "qemu")
"""Runtimes that can choose cores."""


@dataclass(frozen=True, slots=True)
class ProbedCluster:
    """Number ``index`` of the device's. ``cores`` as in `Session.use_cores`; ``published_gflops`` of one core, None
    where that is not known."""

    index: int
    core: str
    count: int
    cores: str
    published_gflops: float | None
    limits: Limits


@dataclass(frozen=True, slots=True)
class CalibratedKernel:
    """``factor``: measured time over what was predicted, the geometric mean over ``layers``; lowest and highest of
    them. ``known``: the cost model has the kernel; else its traffic was taken."""

    kernel: str
    known: bool
    layers: int
    factor: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """``skipped``: clusters that could not be measured, and why. ``files``: where it is stored."""

    device: str
    runtime: str
    isa: str
    clusters: tuple[ProbedCluster, ...]
    kernels: tuple[CalibratedKernel, ...]
    skipped: tuple[str, ...]
    files: tuple[str, ...]


def calibrate(
    device: str | Device, runtime: str = "auto", *, precision: str = "f32", num_runs: int = 30, warmup_runs: int = 3,
    on: str = "", on_progress: Progress | None = None,
) -> Calibration:  # fmt: skip
    """Measure ``device`` through ``runtime`` and store what was found in the user's device database: `compile`,
    `explain`, `predict` and allocation by latency go by it from then on.

    ``on``: what it is measured on, a name and serial for the record. Takes a minute; what was stored before is replaced
    when all is measured.

    Raises:
        InputError: no such device, or a runtime for other bundles.
        RuntimeFailure: the runtime is missing or failed.
    """
    described = load_device(device) if isinstance(device, str) else device
    target = described.target_in(precision)

    def say(done: int, total: int, what: str) -> None:
        if on_progress is not None:
            on_progress(done, total, what)

    groups = _groups(described, runtime)
    clusters: list[ProbedCluster] = []
    skipped: list[str] = []
    for number, (index, choices) in enumerate(groups):
        say(number, len(groups), f"peak and bandwidth of a {described.cluster[index].core}")
        try:
            clusters.append(_probed(described, index, choices, target, runtime))
        except RuntimeFailure as error:
            if index == 0:
                raise
            skipped.append(f"{described.cluster[index].core}: {error.what}")
    graph, _ = lowered(reference_model(), target)
    work = [
        (call, one) for call in graph.calls if call.op not in PLACED for one in candidates(call, graph, target)[0]
    ]  # fmt: skip
    us = []
    for done, (call, one) in enumerate(work):
        say(done, len(work), f"{call.layer}: {one.label}")
        us.append(measure(graph, call, one, target, runtime, num_runs, warmup_runs))
    stored = write_measured(
        Measured(
            device=described.name, on=on or runtime, date=date.today().isoformat(),
            clusters=tuple(
                MeasuredCluster(index=c.index, core=c.core, gflops=c.limits.gflops, read_gbs=dict(c.limits.read_gbs))
                for c in clusters
            ),
        )
    )  # fmt: skip
    # predictions are made from what was just stored, and factors are relative to these
    kernels = _factors(work, us, as_measured(described).target_in(precision))
    return Calibration(
        described.name,
        runtime,
        target.machine.isa,
        tuple(clusters),
        kernels,
        tuple(skipped),
        (str(stored), str(tuned_path(target))),
    )


def _probed(device: Device, index: int, choices: Sequence[str], target: Target, runtime: str) -> ProbedCluster:
    """By the first of ``choices`` that the device allows. Raises RuntimeFailure where that is none."""
    cluster = device.cluster[index]
    for number, cores in enumerate(choices, 1):
        try:
            limits = probe(target, working_sets(cluster), runtime, cores)
        except RuntimeFailure:
            if number == len(choices):
                raise
        else:
            published = cluster.model_copy(update={"gflops": None}).peak_gflops
            return ProbedCluster(index, cluster.core, cluster.count, cores, published, limits)
    raise AssertionError("no choices")


def _groups(device: Device, runtime: str) -> list[tuple[int, tuple[str, ...]]]:
    """Which clusters can be measured, and how their cores are called: on a phone or board all of them, by the numbers
    of their CPUs. Android keeps some CPUs to itself; then the first and the last cluster are what `big` and `little`
    find, and so they are where the device has not those that it is known for."""
    name, last = runtime.partition(":")[0], len(device.cluster) - 1
    if last == 0 or name not in CHOOSING:
        return [(0, ("",))]
    ends = {0: ("big",), last: ("little",)}
    if name in DEVICES:
        link = connect(runtime)
        try:
            found = machine_facts(link).clusters
        finally:
            link.close()
        if len(found) == len(device.cluster):
            masks = [f"{sum(1 << cpu for cpu in cluster.cpus):#x}" for cluster in found]
            return [(index, (mask, *ends.get(index, ()))) for index, mask in enumerate(masks)]
    return list(ends.items())


def _factors(work: list[tuple[OpCall, Candidate]], us: list[float], target: Target) -> tuple[CalibratedKernel, ...]:
    graph, _ = lowered(reference_model(), target)
    predicted = _predictions(graph, target)
    ratios: dict[tuple[bool, str], list[float]] = {}
    for (call, one), took in zip(work, us, strict=True):
        symbol = one.kernels[target.machine.isa].symbol
        found = predicted.get((call.name, symbol))
        if found is not None:
            known, expected = found
            if took > 0:  # less than a step of a coarse clock says nothing
                ratios.setdefault((known, symbol), []).append(took / expected)
    kernels = tuple(
        CalibratedKernel(symbol, known, len(all_), exp(sum(map(log, all_)) / len(all_)), min(all_), max(all_))
        for (known, symbol), all_ in sorted(ratios.items())
    )
    forget_factors(target)
    remember_factors(
        target, {k.kernel: k.factor for k in kernels if k.known}, {k.kernel: k.factor for k in kernels if not k.known}
    )
    return kernels


def _predictions(graph: LoweredGraph, target: Target) -> Mapping[tuple[str, str], tuple[bool, float]]:
    """By call and kernel: whether the cost model knows it, and microseconds."""
    found = {}
    for call in graph.calls:
        for one in candidates(call, graph, target)[0] if call.op not in PLACED else []:
            us = one.binding.predicted_us
            known = us > 0
            symbol = one.kernels[target.machine.isa].symbol
            found[call.name, symbol] = (known, us or other_us(call, graph, target.machine))
    return found
