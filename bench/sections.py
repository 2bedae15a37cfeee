"""JSON lines of bench.kernels, bench.arm and bench.footprint as sections of RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench import footprint

Row = Mapping[str, Any]


def section(rows: Sequence[Row]) -> str:
    """The Markdown of one file; which benchmark wrote it is told by what its lines hold."""
    first = rows[0]
    if "of_peak" in first:
        return _kernels(rows)
    if "fma_per_cycle" in first:
        return _estimates(rows)
    if "instructions" in first or "missing" in first:
        return _instructions(rows)
    return _footprint(rows)


def is_section(row: Row) -> bool:
    """Whether a line is of one of these benchmarks; those of bench.networks and bench.wasm have an engine's version."""
    return "version" not in row


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _made_by(command: str, machine: Row) -> str:
    facts = ", ".join(f"{k} {v}" for k, v in machine.items() if isinstance(v, str) and k not in ("flags", "cores"))
    return f"`{command}` ({facts})"


def _kernels(rows: Sequence[Row]) -> str:
    """The best kernel of each layer and pattern."""
    machine = rows[0]["machine"]
    best: dict[tuple[str, str, float], Row] = {}
    for row in rows:
        key = (row["layer"], row["pattern"], row["sparsity"])
        if key not in best or row["us"] < best[key]["us"]:
            best[key] = row
    dense = {layer: row["us"] for (layer, pattern, _), row in best.items() if pattern == "dense"}
    lines = [
        [
            layer, pattern, f"{sparsity:g}", row["kernel"].replace("spmm_f32 ", ""), f"{row['us']:.1f}",
            f"{row['gflops']:.1f}", f"{row['of_peak']:.0%}",
            f"{dense[layer] / row['us']:.2f}x" if sparsity else "", f"{row['of_ideal']:.0%}" if sparsity else "",
        ]
        for (layer, pattern, sparsity), row in best.items()
    ]  # fmt: skip
    header = ["layer", "pattern", "zeros", "kernel", "us", "GF/s", "of FMA peak", "over dense", "of 1/density"]
    peak = f"{machine['gflops']:.1f} GF/s before, {machine['gflops_after']:.1f} after"
    reads = ", ".join(f"{level} {machine[level]:.0f}" for level in ("l1", "l2", "memory") if level in machine)
    return (
        f"## Kernels\n\n{_made_by('python -m bench.kernels', machine)}\n\nMeasured in the same run: FMA peak {peak};"
        f" reads, GB/s: {reads}. GF/s count the weights that are not zero; the best kernel of each row.\n\n"
        + _table(header, lines)
    )


def _instructions(rows: Sequence[Row]) -> str:
    lines = [
        [row["model"], row["pattern"], f"{row['sparsity']:g}", row["engine"],
         f"{row['instructions'] / 1e6:.1f}" if "instructions" in row else row["missing"]]
        for row in rows
    ]  # fmt: skip
    how = ", ".join(f"{k} {rows[0][k]}" for k in ("emulator", "compiler", "commit") if rows[0].get(k))
    return (
        f"## arm64: executed instructions of an inference\n\n`python -m bench.arm` ({how})\n\nCounted under an"
        " emulator, exactly; no times.\n\n" + _table(["model", "pattern", "zeros", "engine", "millions"], lines)
    )


def _estimates(rows: Sequence[Row]) -> str:
    cores = {row["mcpu"]: row["stands_for"] for row in rows}
    kernels: dict[str, dict[str, float]] = {}
    for row in rows:
        kernels.setdefault(row["kernel"], {})[row["mcpu"]] = row["fma_per_cycle"]
    lines = [
        [kernel, *(f"{found[core]:.2f}" if core in found else "" for core in cores)]
        for kernel, found in kernels.items()
    ]
    return (
        "## arm64: multiply-adds per cycle of the inner loops, estimated\n\n`python -m bench.arm --mca`: estimates of"
        f" llvm-mca with {rows[0]['compiler']}, not measurements. Models stand for: "
        + "; ".join(f"{core}: {what}" for core, what in cores.items())
        + ".\n\n"
        + _table(["kernel", *cores], lines)
    )


def _footprint(rows: Sequence[Row]) -> str:
    return (
        f"## Memory and compilation\n\n{_made_by(rows[0]['command'], rows[0]['machine'])}\n\nArena beside the largest"
        " sum of tensors that are live together; the highest resident memory of a Python process that runs the network"
        " (the last column: Python and NumPy alone).\n\n"
        + _table(footprint.COLUMNS, [footprint.cells(row) for row in rows])
    )
