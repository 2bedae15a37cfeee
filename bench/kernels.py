"""``python -m bench.kernels``: kernels of convolutions over the layers of real networks, against the machine's peak.

Each kernel runs alone, in a bundle of its own, pinned to one core; its time is a median. The peak of the
multiply-adds and the bandwidths are measured in the same run, before and after.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.layers import LAYERS, Layer, graph
from bench.machine import facts
from bench.peak import Peak, peak
from bench.results import save
from edgesparse.devices import load_device
from edgesparse.patterns import parse_pattern
from edgesparse.report import print_table, progress
from edgesparse.select import candidates
from edgesparse.tune import measure
from edgesparse.types import Target


@dataclass(frozen=True, slots=True)
class Result:
    """``gflops``: of the weights that are not zero. ``of_peak``: share of the multiply-add peak. ``of_ideal``: time
    of the best dense kernel times the share of kept weights, over ``us``: 1 where every zero is skipped for free.
    """

    network: str
    layer: str
    pattern: str
    sparsity: float
    kernel: str
    us: float
    gflops: float
    of_peak: float
    of_ideal: float | None


def results(layers: Sequence[Layer], patterns: Sequence[str], sparsities: Sequence[float], target: Target, limit: Peak,
            num_runs: int) -> Iterator[Result]:  # fmt: skip
    """Dense first; the ideal of a sparse layer is its own best dense time in the same run."""
    for layer in layers:
        dense_us = None
        for pattern, sparsity in [("dense", 0.0), *_cases(layer, patterns, sparsities)]:
            timed = _times(layer, pattern, sparsity, target, num_runs)
            if dense_us is None:
                dense_us = min(timed.values())
            for kernel, us in timed.items():
                rate = 2e-3 * layer.macs * (1 - sparsity) / us
                ideal = dense_us * (1 - sparsity) / us if sparsity else None
                yield Result(
                    layer.network, layer.name, pattern, sparsity, kernel, us, rate, rate / limit.gflops, ideal
                )  # fmt: skip


def _cases(layer: Layer, patterns: Sequence[str], sparsities: Sequence[float]) -> list[tuple[str, float]]:
    """What of ``patterns`` the layer can have; N:M and taps with the sparsity that they fix."""
    shape = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
    fitting = [p for p in map(parse_pattern, patterns) if not layer.depthwise and not p.refuses(shape, False)]
    fixed = [(p.text, p.fixed_sparsity) for p in fitting if p.fixed_sparsity is not None]
    free = [p.text for p in fitting if p.fixed_sparsity is None]
    return [(text, sparsity) for sparsity in sorted({*sparsities} - {0.0}) for text in free] + fixed


def _times(layer: Layer, pattern: str, sparsity: float, target: Target, num_runs: int) -> dict[str, float]:
    """Microseconds of the layer by kernel; what prepares its input (the bordered copy) is counted with each."""
    lone = graph(layer, pattern, sparsity, target)
    *before, main = lone.calls
    extra = 0.0
    for call in before:
        (only,), _ = candidates(call, lone, target)
        extra += measure(lone, call, only, target, "local", num_runs, 5)
    found, _ = candidates(main, lone, target)
    return {c.label: extra + measure(lone, main, c, target, "local", num_runs, 5) for c in found}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.kernels", description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default="mobilenet_v1", help="comma-separated; `all` for every one")
    parser.add_argument("--layers", default="", help="comma-separated parts of names; only layers with one of them")
    parser.add_argument("--patterns", default="block:4x1,unstructured")
    parser.add_argument("--sparsity", default="0,0.3,0.5,0.7,0.9")
    parser.add_argument("--num-runs", type=int, default=50)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--json", type=Path, help="write one JSON line per result to this file")
    given = parser.parse_args(arguments)
    os.sched_setaffinity(0, {given.cpu})
    networks = {layer.network for layer in LAYERS}
    wanted = networks if given.networks == "all" else set(given.networks.split(","))
    if wanted - networks:
        parser.error(f"unknown network {', '.join(sorted(wanted - networks))}; known: {', '.join(sorted(networks))}")
    layers = [
        x for x in LAYERS if x.network in wanted and any(part in x.name for part in given.layers.split(","))
    ]  # fmt: skip
    if not layers:
        parser.error(f"no layer of these networks has {given.layers} in its name")
    target, before = load_device("host").target, peak()
    sparsities = [float(s) for s in given.sparsity.split(",")]
    found: list[Result] = []
    with progress("bench.kernels") as on_progress:
        for done, layer in enumerate(layers):
            on_progress(done, len(layers), layer.name)
            found += results([layer], given.patterns.split(","), sparsities, target, before, given.num_runs)
    after = peak()
    print(
        f"{before.isa}: {before.gflops:.1f} GF/s before and {after.gflops:.1f} after; reads "
        + ", ".join(f"{level} {gbs:.0f} GB/s" for level, gbs in before.read_gbs.items())
    )
    rows = [
        (r.layer, r.pattern, f"{r.sparsity:g}", r.kernel, round(r.us, 1), round(r.gflops, 1), f"{r.of_peak:.0%}",
         f"{r.of_ideal:.0%}" if r.of_ideal else "")
        for r in found
    ]  # fmt: skip
    print_table("", ("layer", "pattern", "zeros", "kernel", "us", "GF/s", "of peak", "of ideal"), rows)
    machine = {**facts(given.cpu), "gflops": before.gflops, "gflops_after": after.gflops, **before.read_gbs}
    save(given.json, ({**asdict(r), "machine": machine} for r in found))


if __name__ == "__main__":
    main()
