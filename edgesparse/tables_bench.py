"""What `edgesparse bench MODEL.onnx` prints."""

from __future__ import annotations

from math import isnan
from pathlib import Path

from edgesparse.bench_model import ModelBench
from edgesparse.report import note, print_json, print_table, warn
from edgesparse.tables import milliseconds


def model_bench(path: Path, found: ModelBench, warmup_runs: int, json: bool) -> None:
    report, machine = found.sparsified, found.timed[0].result.machine
    figures = {one.name: milliseconds(one.result.wall_ns) for one in found.timed}
    if json:
        rows = [
            {"name": x.name, **figures[x.name], "wall_ns": x.result.wall_ns, "machine": x.result.machine,
             "weights_bytes": x.manifest.weights_bytes}
            for x in found.timed
        ]  # fmt: skip
        gain = None if found.gain is None else dict(zip(("times", "low", "high"), found.gain, strict=True))
        sparsified = None
        if report is not None:
            sparsified = {"pattern": report.pattern, "zeros": report.zeros, "layers": len(report.layers)}
        document = {"model": str(path), "device": found.device.model_dump(mode="json"), "warmup_runs": warmup_runs}
        return print_json({**document, "unit": "ms", "bundles": rows, "sparsified": sparsified, "gain": gain})
    where = ", ".join(f"{k} {v}" for k, v in machine.items() if v)
    columns = ("", *next(iter(figures.values())))
    rows_of_table = [(name, *row.values()) for name, row in figures.items()]
    print_table(f"{path} compiled for {found.device.name}, milliseconds ({where})", columns, rows_of_table)
    if report is not None and found.gain is not None:
        times, low, high = found.gain
        said = f"{times:.2f} times as fast as dense (95% interval {low:.2f} to {high:.2f})"
        if isnan(times):
            said = "too fast for the clock of this runtime to be compared with dense"
        print(f"{report.pattern} in {len(report.layers)} layers, {report.zeros:.0%} zeros there: {said}")
        note("weights were chosen by magnitude, for the time: `edgesparse sparsify` is for right answers")
    if "emulated" in machine.get("timing", ""):
        warn("run by an emulator: its times say nothing about a device")
    return None
