"""JSON lines of all benchmarks but bench.networks and bench.wasm as sections of RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from bench import (
    accuracy_tables,
    activation_tables,
    allocation,
    download,
    first_inference,
    footprint,
    layer_times,
    llm,
    llm_published,
    llm_web,
    predictions,
    profile_cost,
    profiles,
    rearrangement,
    weight_blocks,
    worth,
)
from bench.arm import decoder_loops, decoders
from bench.results import read_rows
from edgesparse.report import short

Row = Mapping[str, Any]
JUDGED = Path(__file__).resolve().parent / "results" / "activation_sparsity.json"


SIMPLE: Mapping[str, tuple[ModuleType, str, str]] = {
    "profiles": (
        profiles,
        "Layers and whole runs",
        "`edgesparse profile`: medians of whole runs and, alternating with them, of the sums of their layers.",
    ),
    "cost of profiling": (
        profile_cost,
        "What profiling costs",
        "Whole runs alone and beside runs whose layers are timed; on arm64 the instructions that are executed.",
    ),
    "download": (
        download,
        "What a browser downloads",
        "Kilobytes: gzip -9 of the dense weights, `weights.packed` in each storage, and code, also as gzip.",
    ),
    "first inference": (
        first_inference,
        "First outputs in a page",
        "From the first byte of code to the first outputs, nothing cached, the server on the same machine; a new"
        " context of Chromium each time, in turns, medians.",
    ),
    "predictions": (
        predictions,
        "Predictions",
        "`edgesparse predict` beside what networks took: by published figures, after `edgesparse calibrate`, and after"
        " `profile` of the other networks. `layers off by`: as many times as long or as short the middle layer is.",
    ),
    "decoders": (
        llm,
        "Language models, whole",
        "Decoders with random weights, token by token, all variants open at once and in turns with a loop that only"
        " reads memory, from large pages, in which sessions keep weights. What a method skips: teal of the inputs of"
        " all linear layers, cats of neurons, chess of neurons and of the inputs of q and o, rsparse of weights;"
        " `x dense`: beside all inputs in the same form, medians of rounds; int4-blocks beside int4. `active`: of the"
        " weights of linear layers; GB/s count the weights that a token needs. llama.cpp, where it ran, decodes the"
        " same shape on the same cores, with random weights of its own.",
    ),
    "worth of rules": (
        worth,
        "Language models: when skipping pays",
        "`pylm`, which lies in caches, with thresholds of TEAL (the same share for all layers) over itself without, in"
        " turns, one thread on one core. `compile` leaves out what does not pay.",
    ),
    "weight blocks": (
        weight_blocks,
        "Blocks of 4 x 16 weights of a language model left out",
        "`pylm` in weights of 4 bits, without some of the blocks of 4 outputs x 16 inputs of its linear layers:"
        " bits per byte on 96 odd windows of 256 bytes of text, chosen on 64 even ones; floats, dense: 1.823. Embedding"
        " and head stay whole. CPU time is that of choosing, on one core.",
    ),
    "decoders in WebAssembly": (
        llm_web,
        "Language models in WebAssembly",
        "`generate` in node.js and in a worker of Chromium, one thread on one core.",
    ),
    "decoders on arm64": (
        decoders,
        "arm64: executed instructions of a token",
        "The program of the bundle, counted under an emulator, exactly; no times. neon: on a core without dot products"
        " of bytes. `active`: of the weights of linear layers that have a rule; the head has none, and `instructions a"
        " weight` are of all weights, skipped or not. TinyLlama's block has random weights and a vocabulary of 256.",
    ),
    "decoder loops on arm64": (
        decoder_loops,
        "arm64: inner loops of decoding, estimated",
        "Estimates of llvm-mca, not measurements, of the inner loop of each kernel with its weights in the first cache."
        " Where a core's memory gives fewer bytes a cycle, that is the limit.",
    ),
}
"""Benchmarks that are one table: what their lines say they are -> module with COLUMNS and cells(row), title, text."""


def _simple(rows: Sequence[Row], module: ModuleType, title: str, text: str) -> str:
    cells = [[str(cell) for cell in module.cells(dict(row))] for row in rows]
    return (
        f"## {title}\n\n{_made_by(rows[0]['command'], rows[0].get('machine', {}))}\n\n{text}\n\n"
        + _table(module.COLUMNS, cells)
    )  # fmt: skip


def section(rows: Sequence[Row]) -> str:
    """The Markdown of one file; which benchmark wrote it is told by what its lines hold."""
    first = rows[0]
    if "of_peak" in first:
        return _kernels(rows)
    if "fma_per_cycle" in first:
        return _estimates(rows)
    if "verdict" in first:
        return _patterns(rows)
    if "instructions" in first or "missing" in first:
        return _instructions(rows)
    what = str(first.get("what", ""))
    if what == "allocation":
        return _allocation(rows)
    if what == "accuracy":
        return accuracy_tables.accuracy(rows)
    if what == "activation sparsity":
        return activation_tables.activation_sparsity(rows)
    if what == "rearrangement":
        return _rearrangement(rows)
    if what == "layer times":
        return _layer_times(rows)
    if what in SIMPLE:
        return _simple(rows, *SIMPLE[what]) + (_published(rows) if what == "decoders" else "")
    if what == "recovery":
        return accuracy_tables.recovery(rows)
    return _footprint(rows)


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    """File name -> SVG, which the section shows."""
    what = rows[0].get("what")
    if what == "activation sparsity":
        return activation_tables.pictures(rows)
    return accuracy_tables.pictures(rows) if what == "accuracy" else {}


def is_section(row: Row) -> bool:
    """Whether a line is of one of these benchmarks; those of bench.networks and bench.wasm have a schema."""
    return "schema" not in row


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _made_by(command: str, machine: Row) -> str:
    facts = ", ".join(f"{k} {v}" for k, v in machine.items() if isinstance(v, str) and k not in ("flags", "cores"))
    return f"`{command}` ({facts})"


def _published(rows: Sequence[Row]) -> str:
    """What papers say, beside the rows of bench.llm; nothing where it ran none of their methods."""
    header, lines = llm_published.table(rows, read_rows(JUDGED))
    if not lines:
        return ""
    return (
        "\n\nGains as papers give them, on other machines, with other models and other forms of weights; beside them"
        " tokens/s here over those of dense int8, and by how much bits per byte of the trained `pylm` rise at the same"
        " sparsity, with the best of the method's allocations. Here all layers split rsparse's weights alike, 95% to"
        " inputs and the rest to the rank; on `pylm` each has its own best split.\n\n" + _table(header, lines)
    )


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


def _allocation(rows: Sequence[Row]) -> str:
    return (
        f"## Allocation by latency\n\n{_made_by(rows[0]['command'], rows[0]['machine'])}\n\nThe plan that loses the"
        " least squared magnitude (relative, summed over layers) at a target, timed once more; and uniform sparsity"
        " that takes the same time, in the pattern that loses least. All measured, in turns with the dense network.\n\n"
        + _table(allocation.COLUMNS, [allocation.cells(row) for row in rows])
    )


def _layer_times(rows: Sequence[Row]) -> str:
    first = rows[0]
    return (
        f"## Layer by layer\n\n{_made_by(first['command'], first['machine'])}\n\n{first['model']} dense and with"
        f" `{first['pattern']}` at {first['zeros']:g}, medians in microseconds, in turns.\n\n"
        + _table(layer_times.COLUMNS, [layer_times.cells(dict(row)) for row in rows])
    )


def _rearrangement(rows: Sequence[Row]) -> str:
    """A table of networks, and one of the layers of each that was trained."""
    parts = [
        f"## Channels rearranged\n\n{_made_by(rows[0]['command'], rows[0]['machine'])}\n\nThe share of the magnitude"
        f" that `{rows[0]['pattern']}` at {rows[0]['zeros']:g} keeps, a mean over layers; how many of the layers that"
        " lose any in the natural order keep more; the largest difference of an output of the dense network, relative"
        " to the largest output.\n\n" + _table(rearrangement.COLUMNS, [rearrangement.cells(row) for row in rows])
    ]
    for row in rows:
        lines = [
            [short(x["layer"]), "x".join(map(str, x["shape"])), f"{x['natural']:.3f}", f"{x['rearranged']:.3f}",
             x["rows_stay"]]
            for x in row["layers"]
        ]  # fmt: skip
        table = _table(["layer", "shape", "natural", "rearranged", "why its output channels stay"], lines)
        parts.append(f"<details><summary>{row['model']}, layer by layer</summary>\n\n{table}\n\n</details>")
    return "\n\n".join(parts)


def _patterns(rows: Sequence[Row]) -> str:
    """Patterns down, layers and devices across: how many times as fast as the best dense kernel."""
    columns = list(dict.fromkeys((row["layer"], row["device"]) for row in rows))
    source = {row["device"]: f"{row['device']} ({row['isa']}, {row['source']})" for row in rows}
    found = {(row["pattern"], row["sparsity"], row["layer"], row["device"]): row for row in rows if row["sparsity"]}
    lines = []
    for pattern, sparsity in dict.fromkeys(key[:2] for key in found):
        cells = [found.get((pattern, sparsity, *column)) for column in columns]
        words = ["" if c is None else f"Winograd {c['times']:.2f}x" if "Winograd" in c["verdict"] else
                 f"{c['times']:.2f}x" for c in cells]  # fmt: skip
        lines.append([pattern, f"{sparsity:.2f}", *words])
    header = ["pattern", "zeros", *(f"{layer}, {source[device]}" for layer, device in columns)]
    commands = "; ".join(dict.fromkeys(_made_by(row["command"], row["machine"]) for row in rows))
    return (
        f"## What patterns are worth\n\n{commands}\n\nTimes as fast as the best dense kernel of the layer. Winograd:"
        " dense in that form is faster than to skip these zeros, and the layer runs so. No depthwise kernel skips"
        " taps.\n\n" + _table(header, lines)
    )


def _footprint(rows: Sequence[Row]) -> str:
    return (
        f"## Memory and compilation\n\n{_made_by(rows[0]['command'], rows[0]['machine'])}\n\nArena beside the largest"
        " sum of tensors that are live together; the highest resident memory of a Python process that runs the network"
        " (the last column: Python and NumPy alone).\n\n"
        + _table(footprint.COLUMNS, [footprint.cells(row) for row in rows])
    )
