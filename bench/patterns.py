"""``python -m bench.patterns``: what each sparsity pattern is worth beside the best dense kernel, per instruction set.

On this machine and in WebAssembly times are measured: the kernels of one layer take turns, and the shortest run of each
counts, which other programs disturb least. For arm64 they are estimated by the costs that kernels are chosen by, beside
the instructions that were executed under qemu; neither is a time.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.arm.layers import count_bundle
from bench.command import as_typed
from bench.layers import Layer, graph
from bench.machine import facts
from bench.results import save
from edgesparse.devices import load_device
from edgesparse.patterns import parse_pattern
from edgesparse.report import note, print_table, progress
from edgesparse.runtimes import Session
from edgesparse.samples import random_inputs
from edgesparse.select import Candidate, candidates
from edgesparse.tune import alone
from edgesparse.types import LoweredGraph, OpCall, Target

LAYERS = (
    Layer("mobilenet_v1", 256, 256, 28),
    Layer("mobilenet_v1", 512, 512, 14),
    Layer("resnet50", 256, 256, 14, 3),
    Layer("resnet50", 256, 256, 28, 3, 2),
)
PATTERNS = (
    "unstructured@0.5,unstructured@0.7,unstructured@0.9,block:2x1@0.5,block:4x1@0.5,slice:1x1@0.5,slice:4x1@0.5,"
    "slice:4x1@0.7,taps:4,taps:6,nm:2:4,nm:4:8,nm:1:4,nm:1:8,nm:2:4x4,nm:1:4x4"
)
DENSE = "dense"
RUNTIMES = {"shared": "local", "wasm": "node", "executable": ""}
NEAR = 1.5  # kernels that are predicted to take longer than the best by more are not tried
LESS, MORE = 0.97, 1.03  # between these a pattern is as fast as dense


@dataclass(frozen=True, slots=True)
class Worth:
    """The best kernel of one layer in one pattern: ``times`` as fast as dense. ``instructions``: executed, 0 if not
    counted.
    """

    device: str
    isa: str
    source: str
    layer: str
    pattern: str
    sparsity: float
    kernel: str
    us: float
    times: float
    instructions: float

    @property
    def verdict(self) -> str:
        if self.pattern == DENSE:
            return ""
        if self.kernel.startswith("winograd"):
            return "dense, as Winograd, is faster"
        return "faster" if self.times > MORE else "slower" if self.times < LESS else "as fast as dense"


@dataclass(frozen=True, slots=True)
class Case:
    pattern: str
    sparsity: float
    lone: LoweredGraph
    call: OpCall
    found: tuple[Candidate, ...]


def cases(layer: Layer, patterns: Sequence[str], target: Target) -> Iterator[Case]:
    """Dense first; then what of ``patterns``, each ``text`` or ``text@sparsity``, the layer can have."""
    shape = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
    wanted = [(DENSE, 0.0)]
    for item in patterns:
        text, _, share = item.partition("@")
        pattern = parse_pattern(text)
        if pattern.refuses(shape, False) or (text.startswith("slice") and layer.kernel == 1):
            continue
        wanted.append((pattern.text, pattern.fixed_sparsity if pattern.fixed_sparsity is not None else float(share)))
    for text, sparsity in wanted:
        lone = graph(layer, text, sparsity, target)
        call = lone.calls[-1]
        found, _ = candidates(call, lone, target)
        near = tuple(c for c in found if c.binding.predicted_us <= NEAR * found[0].binding.predicted_us)
        yield Case(text, sparsity, lone, call, near)


def measured(todo: Sequence[Case], target: Target, runtime: str, rounds: int, runs: int) -> list[tuple[str, float]]:
    """Of each case the fastest kernel, and microseconds of its shortest run."""
    shortest: dict[tuple[int, str], float] = {}
    with ExitStack() as stack:
        opened: list[tuple[int, str, Session]] = []
        for number, case in enumerate(todo):
            for candidate in case.found:
                session = stack.enter_context(alone(case.lone, case.call, candidate, target, runtime))
                opened.append((number, candidate.label, session))
        for _ in range(rounds):
            for number, label, session in opened:
                done = session.bench(random_inputs(session.manifest), num_runs=runs, warmup_runs=3)
                us = min(done.wall_ns) / 1000
                shortest[number, label] = min(us, shortest.get((number, label), us))
    best = []
    for number in range(len(todo)):
        us, label = min((us, label) for (at, label), us in shortest.items() if at == number)
        best.append((label, us))
    return best


def executed(case: Case, target: Target) -> float:
    """Instructions of one call of the kernel that is predicted to be the fastest."""
    with alone(case.lone, case.call, case.found[0], target, "qemu") as session:
        inputs = random_inputs(session.manifest)
        count = count_bundle(session.bundle, [inputs[port.name] for port in session.manifest.inputs])
    return sum(layer.instructions for layer in count.layers)


def results(layer: Layer, patterns: Sequence[str], device: str, rounds: int, runs: int, count: bool) -> list[Worth]:
    """Raises InputError for an unknown device or pattern, RuntimeFailure where an engine is missing."""
    target = load_device(device).target
    todo, runtime = list(cases(layer, patterns, target)), RUNTIMES[target.kind]
    if runtime:
        times = measured(todo, target, runtime, rounds, runs)
    else:
        times = [(case.found[0].label, case.found[0].binding.predicted_us) for case in todo]
    source = f"measured, {runtime}" if runtime else "estimated"
    return [
        Worth(
            device, target.machine.isa, source, layer.name, case.pattern, case.sparsity, kernel, us,
            times[0][1] / us, executed(case, target) if count and not runtime else 0.0,
        )
        for case, (kernel, us) in zip(todo, times, strict=True)
    ]  # fmt: skip


def show(found: Sequence[Worth]) -> None:
    for device in dict.fromkeys(r.device for r in found):
        own = [r for r in found if r.device == device]
        counted = any(r.instructions for r in own)
        columns = ("layer", "pattern", "zeros", "kernel", "us", "times as fast", "verdict")
        rows = [
            (r.layer, r.pattern, f"{r.sparsity:.2f}", r.kernel, round(r.us), f"{r.times:.2f}", r.verdict,
             *((f"{r.instructions / 1e6:.1f}",) if counted else ()))
            for r in own
        ]  # fmt: skip
        title = f"{device} ({own[0].isa}): {own[0].source}"
        print_table(title, (*columns, *(("million instructions",) if counted else ())), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.patterns", description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", default="host,browser,browser-relaxed,rpi5", help="with commas between them")
    parser.add_argument("--patterns", default=PATTERNS, help=f"PATTERN or PATTERN@SPARSITY (default {PATTERNS})")
    parser.add_argument("--layers", default="", help="comma-separated parts of names; only layers with one of them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num-runs", type=int, default=10, help="of each kernel in a round")
    parser.add_argument("--instructions", action="store_true", help="count those of arm64 programs, under qemu")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--json", type=Path, help="write one JSON line per result to this file")
    given = parser.parse_args(arguments)
    os.sched_setaffinity(0, {given.cpu})
    layers = [x for x in LAYERS if any(part in x.name for part in given.layers.split(","))]
    if not layers:
        parser.error(f"none of the layers has {given.layers} in its name: {'; '.join(x.name for x in LAYERS)}")
    work = [(device, layer) for device in given.devices.split(",") for layer in layers]
    found: list[Worth] = []
    with progress("bench.patterns") as on_progress:
        for done, (device, layer) in enumerate(work):
            on_progress(done, len(work), f"{device}: {layer.name}")
            found += results(
                layer, given.patterns.split(","), device, given.rounds, given.num_runs, given.instructions
            )  # fmt: skip
    show(found)
    note("no depthwise kernel skips taps: zeros in depthwise weights save no time anywhere")
    extra = {"command": as_typed(parser, arguments, given.json), "machine": facts(given.cpu)}
    save(given.json, ({**asdict(r), "verdict": r.verdict, **extra} for r in found))


if __name__ == "__main__":
    main()
