"""What each command prints: a table, or with ``json`` one document with the same facts and more."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.compare import OutputError
from edgesparse.inspect import Inspection
from edgesparse.manifest import Manifest
from edgesparse.report import (
    kilobytes,
    note,
    print_facts,
    print_json,
    print_table,
    shape_text,
    short,
    warn,
)
from edgesparse.types import Array, RunResult

if TYPE_CHECKING:
    from edgesparse.doctor import Finding
    from edgesparse.explain import Verdict
    from edgesparse.quickstart import Tour
    from edgesparse.tune import TuneReport

_RECORDED = ("pattern", "sparsity", "zeros")


def inspection(path: Path, found: Inspection, json: bool) -> None:
    if json:
        document = dataclasses.asdict(dataclasses.replace(found, unsupported=()))
        document["unsupported"] = [{"what": e.what, "where": e.where, "hint": e.hint} for e in found.unsupported]
        return print_json({"model": str(path), **document})
    for text in found.notes:
        note(text)
    print_facts(
        str(path),
        {
            "opset": ", ".join(f"{k} {v}" for k, v in found.opset.items()),
            "parameters": f"{found.parameters:,} ({100 * found.zeros:.1f}% zeros)",
            "MACs": "unknown" if found.shapes_needed else f"{found.macs:,} for one inference, counted dense",
            **{k: v for k, v in found.metadata.items() if k.startswith("edgesparse")},
        },
    )
    ports = [("input", p) for p in found.inputs] + [("output", p) for p in found.outputs]
    print_table("", ("", "name", "shape", "type"), [(k, p.name, shape_text(p.shape), p.dtype) for k, p in ports])
    names = sorted({*found.operators, *found.simplified}, key=lambda n: (-found.operators.get(n, 0), n))
    rows = [(n, found.operators.get(n, 0), found.simplified.get(n, 0)) for n in names]
    print_table("Operators", ("operator", "in the file", "simplified"), rows)
    if found.layers:
        weighted = [(x.name, x.op, shape_text(x.shape), f"{100 * x.zeros:.1f}", x.macs or "") for x in found.layers]
        print_table("Layers with weights", ("layer", "operator", "weight", "zeros %", "MACs"), weighted)
    if found.sparsity:
        entries = [(name, *(facts.get(k) for k in _RECORDED)) for name, facts in found.sparsity.items()]
        print_table("Sparsified by edgesparse", ("layer", *_RECORDED), entries)
    if found.layout_changes:
        changes = [(c.name, shape_text(c.shape), ",".join(map(str, c.permutation))) for c in found.layout_changes]
        print_table("Layout changes that remain", ("node", "shape", "permutation"), changes)
    if found.unsupported:
        bad = [(e.where, e.what, e.hint) for e in found.unsupported]
        print_table(f"Not supported: {len(bad)}", ("node", "why", "way out"), bad)
    if found.shapes_needed:
        options = " ".join(f"--shape {text}" for text in found.shapes_needed)
        print(f"Give shapes for MACs, layout changes and all that is unsupported: {options} (or other numbers)")
    elif not found.unsupported:
        print("Every operator is supported.")
    return None


def findings(found: Sequence[Finding], json: bool) -> None:
    if json:
        return print_json([dataclasses.asdict(x) for x in found])
    columns = ("what", "state", "found", "needed for", "to get it")
    print_table("", columns, [(x.what, x.state, x.found, x.needed, x.fix) for x in found])
    return None


def bundle(path: Path, manifest: Manifest, json: bool) -> None:
    if json:
        return print_json({"bundle": str(path), **manifest.model_dump(mode="json")})
    for text in manifest.notes:
        note(text)
    rows = [
        (x.name, x.op, x.kernel, shape_text(x.shape), x.pattern, f"{100 * x.zeros:.0f}" if x.weight_bytes else "",
         x.macs or "")
        for x in manifest.layers
    ]  # fmt: skip
    print_table("", ("layer", "op", "kernel", "output", "pattern", "zeros %", "MACs"), rows)
    print_facts(
        f"{path} for {manifest.device}",
        {
            "program": f"{kilobytes(manifest.code_bytes)} ({manifest.triple}, {', '.join(manifest.isas)})",
            "precision": manifest.precision,
            "weights": _weights(manifest),
            "arena": f"{kilobytes(manifest.arena_bytes)} (no plan needs less than "
            f"{kilobytes(manifest.arena_lower_bound_bytes)})",
            "files": ", ".join(sorted(manifest.files)),
        },
    )
    return None


def _weights(manifest: Manifest) -> str:
    packed = manifest.weights
    if packed is None:
        return kilobytes(manifest.weights_bytes)
    text = f"{kilobytes(packed.bytes)}, unpacked {kilobytes(manifest.weights_bytes)}"
    if packed.rounding:
        worst = max(packed.rounding, key=lambda r: r.max)
        rms = max(r.rms for r in packed.rounding)
        text += (
            f"; rounded to {packed.storage}: by at most {100 * worst.max:.2g}% of a layer's largest ('{worst.layer}'),"
            f" {100 * rms:.2g}% rms"
        )
    return text


def explanation(path: Path, device: str, found: Sequence[Verdict], json: bool) -> None:
    if json:
        document = [{**dataclasses.asdict(v), "speedup": v.speedup, "verdict": v.verdict} for v in found]
        return print_json({"model": str(path), "device": device, "layers": document})
    timed = [v for v in found if v.us]
    measured = all(v.measured for v in timed) and timed
    rows = [
        (
            short(v.layer), v.kernel, v.pattern, f"{100 * v.zeros:.0f}" if v.pattern else "", v.us or None,
            v.dense_us or None, v.verdict, v.reason.partition("; not ")[0], v.advice,
        )
        for v in found
    ]  # fmt: skip
    columns = ("layer", "kernel", "pattern", "zeros %", "us", "if dense", "verdict", "why", "to make it faster")
    source = "measured" if measured else "estimated"
    print_table(f"{path} on {device}: microseconds on one core, {source}", columns, rows)
    total, dense = sum(v.us for v in timed), sum(v.dense_us for v in timed)
    if total:
        print(
            f"{total:.0f} us in layers with a choice of kernels, {dense:.0f} us if all were dense: "
            f"{dense / total:.2f} times; --json says why other kernels were not taken"
        )
        note("`edgesparse whatif` shows for each layer from which sparsity on which pattern is faster")
    return None


def tuning(result: TuneReport, json: bool) -> None:
    if json:
        return print_json(dataclasses.asdict(result))
    rows = [
        (x.layer, next(iter(x.us)), min(x.us.values()), x.predicted, x.us[x.predicted], round(x.gain, 2))
        for x in result.layers
    ]
    columns = ("layer", "fastest", "us", "predicted", "us", "gain")
    print_table(f"Kernels measured on {result.device}, microseconds", columns, rows)
    print(f"{result.measured} kernels measured, the others were known; stored in {result.file}, which compile reads")
    return None


def outputs(path: Path, arrays: Mapping[str, Array], machine: Mapping[str, str], json: bool) -> None:
    if json:
        shapes = {k: {"shape": v.shape, "dtype": str(v.dtype)} for k, v in arrays.items()}
        return print_json({"file": str(path), "outputs": shapes, "machine": machine})
    rows = [
        (k, shape_text(v.shape), str(v.dtype), float(v.min()) if v.size else None, float(v.max()) if v.size else None)
        for k, v in arrays.items()
    ]
    print_table("", ("output", "shape", "type", "min", "max"), rows)
    print(f"wrote {path}")
    return None


def timing(path: Path, manifest: Manifest, result: RunResult, warmup_runs: int, json: bool) -> None:
    figures = milliseconds(result.wall_ns)
    if json:
        return print_json(
            {
                "bundle": str(path), "device": manifest.device, "machine": result.machine, "warmup_runs": warmup_runs,
                "unit": "ms", **figures, "wall_ns": result.wall_ns,
            }
        )  # fmt: skip
    where = ", ".join(f"{k} {v}" for k, v in result.machine.items() if v)
    print_table(f"{path}, milliseconds ({where})", tuple(figures), [tuple(figures.values())])
    return None


def milliseconds(wall_ns: Sequence[int]) -> dict[str, float]:
    """``count min median mean p90 max std`` of at least one run; p90 is the nearest rank, std of the sample."""
    ms = sorted(t / 1e6 for t in wall_ns)
    return {
        "count": len(ms), "min": ms[0], "median": statistics.median(ms), "mean": statistics.fmean(ms),
        "p90": ms[-(-9 * len(ms) // 10) - 1], "max": ms[-1], "std": statistics.stdev(ms) if len(ms) > 1 else 0.0,
    }  # fmt: skip


def comparison(errors: Sequence[OutputError], tolerance: float, json: bool) -> None:
    if json:
        document = [{**dataclasses.asdict(e), "within": e.max_rel <= tolerance} for e in errors]
        return print_json({"tolerance": tolerance, "outputs": document})
    rows = [
        (e.name, e.max_abs, e.max_rel, f"{e.agree} of {e.rows}", "yes" if e.max_rel <= tolerance else "no")
        for e in errors
    ]
    columns = ("output", "max abs error", "max rel error", "same argmax", f"within {tolerance:g}")
    print_table("against onnxruntime", columns, rows)
    return None


def tour(result: Tour, json: bool) -> None:
    """The closing tables of the quickstart: what was measured, every file, and what could not be run."""
    if json:
        return print_json(dataclasses.asdict(result))
    # short heads: the table fits a terminal of 80 columns
    columns = ("device", "run by", "zeros", "right", "same", "program", "weights", "arena", "latency")
    rows = [
        (r.device, r.runtime or "not run", f"{r.sparsity:.0%}", r.right, r.same, r.code_bytes / 1000,
         r.weights_bytes / 1000, r.arena_bytes / 1000, r.latency_us)
        for r in result.rows
    ]  # fmt: skip
    title = (
        f"A digit classifier, pruned in 4x1 blocks: of {result.rows[0].images} test images, how many answers are "
        "right, and the same as onnxruntime's; sizes in kB; median latency on this machine in microseconds, one thread"
    )
    print_table(title, columns, rows)
    folders: dict[str, list[str]] = {}
    for file in map(Path, result.files):
        folders.setdefault(str(file.parent), []).append(file.name)
    print_facts(f"{len(result.files)} files in {result.seconds:.0f} s", {k: ", ".join(v) for k, v in folders.items()})
    for what, command in result.missing.items():
        warn(f"{what}: {command}")
    print(f"start reading at {result.rows[0].bundle}/model.c; more: edgesparse --help")
    return None
