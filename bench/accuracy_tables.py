"""JSON lines of bench.accuracy and bench.recovery as tables and pictures of RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.plot import svg

Row = Mapping[str, Any]
DRAWN = ("obc, rearranged", "obc", "magnitude", "random")


def accuracy(rows: Sequence[Row]) -> str:
    """A table each model: patterns and methods down, sparsities across; then patterns with a sparsity of their own."""
    parts = [
        "## Accuracy over sparsity\n\n"
        + _commands(rows)
        + "\n\n"
        + "Percent of samples right, mean ± standard deviation over splits; the samples that calibrate are not those"
        " that judge, no labels are used, nothing is trained. Rearranged: channels of the whole network in an order in"
        " which the pattern keeps more. In bold: the best method of a pattern at a sparsity."
    ]
    for model in dict.fromkeys(row["model"] for row in rows):
        found = [row for row in rows if row["model"] == model]
        dense = next(row for row in found if row["pattern"] == "dense")
        free = [row for row in found if row["pattern"] in _curves(found)]
        fixed = [row for row in found if row not in free and row is not dense]
        splits = len(dense["accuracy"])
        parts.append(
            f"### {model}\n\nDense: {_cell(dense)}; {splits} splits, {dense['samples']} samples judge in each.\n\n"
            f"![accuracy of {model} over sparsity]({picture_name(model)})\n\n" + _over_sparsity(free)
        )
        if fixed:
            best = _best(fixed)
            parts.append(
                _table(
                    ["pattern", "zeros", "method", "accuracy"],
                    [[r["pattern"], f"{r['sparsity']:g}", _method(r), _cell(r, _key(r) in best)] for r in fixed],
                )
            )
    return "\n\n".join(parts)


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    """File name -> SVG, one each model: colours are patterns, dashes methods."""
    found = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        dense = next(row for row in mine if row["pattern"] == "dense")
        lines: dict[tuple[str, str], dict[float, float]] = {}
        for row in mine:
            if row["pattern"] in _curves(mine) and _method(row) in DRAWN:
                line = lines.setdefault((row["pattern"], _method(row)), {0.0: float(np.mean(dense["accuracy"]))})
                line[row["sparsity"]] = float(np.mean(row["accuracy"]))
        ordered = {key: lines[key] for method in DRAWN for key in lines if key[1] == method}
        found[picture_name(model)] = svg(f"{model}: accuracy over sparsity, nothing trained", ordered, None, unit="%")
    return found


def picture_name(model: str) -> str:
    return f"RESULTS-accuracy-{model}.svg"


def recovery(rows: Sequence[Row]) -> str:
    lines = [
        [row["model"], f"{row['pattern']} {row['sparsity']:g}",
         *(_spread(row[key]) for key in ("dense", "pruned", "recovered")),
         f"{np.mean(row['recovered']) - np.mean(row['dense']):+.1f}", f"{np.mean(row['minutes']):.1f}"]
        for row in rows
    ]  # fmt: skip
    header = ["model", "pattern, zeros", "dense", "pruned", "recovered", "to dense", "CPU minutes"]
    return (
        f"## Recovery without labels\n\n{_commands(rows)}\n\nPercent of samples right, mean ± standard deviation"
        f" over {len(rows[0]['dense'])} splits. Masks stay; the samples that calibrated them train, without labels.\n\n"
        + _table(header, lines)
    )


def _commands(rows: Sequence[Row]) -> str:
    return "; ".join(f"`{command}`" for command in dict.fromkeys(row["command"] for row in rows))


def _curves(rows: Sequence[Row]) -> list[str]:
    """The patterns that were tried at several sparsities."""
    seen: dict[str, set[float]] = {}
    for row in rows:
        seen.setdefault(row["pattern"], set()).add(row["sparsity"])
    return [pattern for pattern, sparsities in seen.items() if len(sparsities) > 1]


def _over_sparsity(rows: Sequence[Row]) -> str:
    sparsities = sorted({row["sparsity"] for row in rows})
    by_key = {_key(row): row for row in rows}
    best = _best(rows)
    lines = [
        [pattern, method, *(_cell(by_key[key], key in best) if (key := (pattern, method, s)) in by_key else ""
                            for s in sparsities)]
        for pattern, method in dict.fromkeys((row["pattern"], _method(row)) for row in rows)
    ]  # fmt: skip
    return _table(["pattern", "method", *(f"{s:g}" for s in sparsities)], lines)


def _best(rows: Sequence[Row]) -> set[tuple[str, str, float]]:
    found: dict[tuple[str, float], Row] = {}
    for row in rows:
        place = (row["pattern"], row["sparsity"])
        if place not in found or np.mean(row["accuracy"]) > np.mean(found[place]["accuracy"]):
            found[place] = row
    return {_key(row) for row in found.values()}


def _key(row: Row) -> tuple[str, str, float]:
    return row["pattern"], _method(row), row["sparsity"]


def _method(row: Row) -> str:
    return f"{row['method']}, rearranged" if row["rearranged"] else str(row["method"])


def _cell(row: Row, bold: bool = False) -> str:
    text = _spread(row["accuracy"])
    return f"**{text}**" if bold else text


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.1f} ± {np.std(values):.1f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
