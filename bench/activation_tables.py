"""JSON lines of bench.activation_sparsity as a section and a picture of RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.plot import svg

Row = Mapping[str, Any]
ORDER = ("random", "teal", "wina", "rsparse", "topk", "cats", "chess")
TITLES = {("teal", "uniform"): "magnitude (TEAL without allocation)"}
PICTURE = "RESULTS-activation-sparsity.svg"
_TOP = 1.0  # bits that the picture shows at most


def activation_sparsity(rows: Sequence[Row]) -> str:
    first = rows[0]
    commands = "; ".join(f"`{command}`" for command in dict.fromkeys(row["command"] for row in rows))
    whole = _sorted([r for r in rows if "percent" not in r and r["allocation"] != "neurons"])
    neurons = _sorted([r for r in rows if r.get("allocation") == "neurons"])
    parts = [
        f"## Activation sparsity\n\n{commands}\n\n`{first['model']}` dense: "
        f"{first['dense_bits_per_byte']:.4f} bits per byte, {first['dense_bytes_per_token'] / 1e6:.2f} MB of weights of"
        " 8 bits read for each token. Sparsity: the share of the weights of all linear layers that is not read; the"
        " first four positions of each window stay dense. Thresholds are made on 64 even windows of 256 bytes of text,"
        " and judged on 96 odd ones. `network` and `block`: shares allocated by the loss, or by the error of each"
        " block; R-Sparse takes WINA's shares. Except by CATS and CHESS, layers that read the same (q, k and"
        " v; gate and up) skip the same inputs. In bold: the best of a sparsity.",
        f"![rise in bits per byte over sparsity]({PICTURE})",
        "Bits per byte:\n\n" + _over(whole, lambda r, best: _bold(f"{r['bits_per_byte']:.3f}", best)),
        "What was achieved on the text that judges, % of weights not read; MB read for each token:\n\n"
        + _over(whole, lambda r, _: f"{100 * r['achieved']:.1f}; {r['bytes_per_token'] / 1e6:.2f}"),
    ]
    if neurons:
        parts.append(
            "CATS and CHESS at a share of neurons (CHESS: of the inputs of q and o, too): bits per byte, and % of all"
            " weights not read:\n\n"
            + _over(neurons, lambda r, _: f"{r['bits_per_byte']:.3f}; {100 * r['achieved']:.1f}")
        )
    parts += [_layers(whole), _own([r for r in rows if "percent" in r])]
    return "\n\n".join(part for part in parts if part)


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    lines: dict[tuple[str, str], dict[float, float]] = {}
    for row in _sorted([r for r in rows if "percent" not in r and r["allocation"] != "neurons"]):
        line = lines.setdefault((row["method"], row["allocation"]), {0.0: 0.0})
        line[row["sparsity"]] = min(row["bits_per_byte"] - row["dense_bits_per_byte"], _TOP)
    title = f"{rows[0]['model']}: rise in bits per byte by activation sparsity; above {_TOP:g} drawn at {_TOP:g}"
    axis = "share of the weights of the linear layers that is not read"
    return {PICTURE: svg(title, lines, None, unit="bits", axis=axis)}


def _sorted(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda r: (ORDER.index(r["method"]), r["sparsity"]))


def _over(rows: Sequence[Row], cell: Any) -> str:
    sparsities = sorted({r["sparsity"] for r in rows})
    found = {(r["method"], r["allocation"], r["sparsity"]): r for r in rows}
    best = {
        s: min((r for r in rows if r["sparsity"] == s), key=lambda r: float(r["bits_per_byte"])) for s in sparsities
    }
    lines = [
        [
            TITLES.get((method, allocation), f"{method}, {allocation}"),
            *(cell(r, best[s] is r) if (r := found.get((method, allocation, s))) else "" for s in sparsities),
        ]
        for method, allocation in dict.fromkeys((r["method"], r["allocation"]) for r in rows)
    ]
    return _table(["method, allocation", *(f"{s:g}" for s in sparsities)], lines)


def _layers(rows: Sequence[Row]) -> str:
    """What each layer skips, where the shares differ."""
    parts = []
    for row in rows:
        if row["allocation"] not in ("block", "network"):
            continue
        blocks: dict[str, dict[str, float]] = {}
        for place, share in row["layers"].items():
            index, _, site = place.partition(".")
            blocks.setdefault(index, {})[site] = share
        sites = list(next(iter(blocks.values())))
        lines = [[index, *(f"{100 * of[site]:.0f}" for site in sites)] for index, of in blocks.items()]
        summary = f"{row['method']}, {row['allocation']}, {row['sparsity']:g}: % of each layer not read"
        parts.append(
            f"<details><summary>{summary}</summary>\n\n{_table(['block', *sites], lines)}\n\n</details>"
        )  # fmt: skip
    return "\n\n".join(parts)


def _own(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = [
        [f"PPL-{r['percent']:g}%", f"{100 * r['neurons']:.1f}", f"{r['cett']:.3f}",
         " ".join(f"{100 * share:.0f}" for share in r["layers"])]
        for r in rows
    ]  # fmt: skip
    half = " ".join(f"{100 * x['half']:.0f}" for x in rows[0]["lazy"])
    nonzero = " ".join(f"{100 * x['nonzero']:.0f}" for x in rows[0]["lazy"])
    return (
        "Neurons that can be left out until the perplexity has risen by p%, by the size of what they add to the output"
        f" (CETT): on {rows[0]['model']}, % of all and of each block. Not exactly zero: {nonzero}% of the neurons of"
        f" each block; half of what a block adds is the work of {half}%.\n\n"
        + _table(["", "% of neurons", "CETT", "by block"], lines)
    )


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
