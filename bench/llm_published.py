"""Speed-ups that papers give for activation sparsity, beside those of `bench.llm` at the same sparsity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Published:
    """``skipped``: a share ``of`` something, at which ``gain`` was measured ``on``. As the abstracts have it; TEAL's
    GPUs and CHESS's CPU are from the text."""

    title: str
    skipped: float
    of: str
    gain: str
    on: str


PUBLISHED: Mapping[str, Published] = {
    "teal": Published(
        "Training-Free Activation Sparsity in Large Language Models", 0.5, "inputs", "up to 1.8x", "A6000, A100"
    ),
    "cats": Published(
        "CATS: Contextually-Aware Thresholding for Sparsity in Large Language Models", 0.5, "neurons",
        "about 15% of the time of a token", "a GPU, Llama-7B and Mistral-7B",
    ),
    "chess": Published(
        "CHESS: Optimizing LLM Inference via Channel-Wise Thresholding and Selective Sparsification", 0.5,
        "neurons, and inputs of q and o", "up to 1.27x", "a CPU",
    ),
    "rsparse": Published(
        "R-Sparse: Rank-Aware Activation Sparsity for Efficient LLM Inference", 0.5, "weights",
        "43%, end to end", "kernels of its own, Llama-2/3 and Mistral",
    ),
}  # fmt: skip
"""By method of `bench.llm`."""
BY_NEURONS = ("cats", "chess")


def table(rows: Sequence[Row], judged: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines, of the methods that are in ``rows``, lines of `bench.llm`. ``judged``: those of
    `bench.activation_sparsity`, for what the method loses on a trained network."""
    found = {
        (row["method"], row["shape"], row["threads"]): row
        for row in rows
        if (published := PUBLISHED.get(row.get("method", ""))) and row["weights"] == "int8"
        and row["skipped"] == published.skipped
    }  # fmt: skip
    places = sorted({key[1:] for key in found}, key=[(r["shape"], r["threads"]) for r in rows].index)
    shapes = list(dict.fromkeys(shape for shape, _ in places))
    lines = []
    for method, published in PUBLISHED.items():
        ours = [found.get((method, *place)) for place in places]
        if not any(ours):
            continue
        read = [next((f"{r['active']:.0%}" for r in ours if r and r["shape"] == shape), "") for shape in shapes]
        lines.append([
            f'{method}: "{published.title}"', f"{published.skipped:.0%} of {published.of}", published.gain,
            published.on, *(f"{row['x_dense']:.2f}x" if row else "" for row in ours),
            " / ".join(read), _rise(judged, method, published.skipped),
        ])  # fmt: skip
    header = [
        "method", "skipped", "published", "on", *(f"here, {s}, {_cores(t)}" for s, t in places),
        "weights of layers read" + (f" ({' / '.join(shapes)})" if len(shapes) > 1 else ""), "bits per byte, pylm",
    ]  # fmt: skip
    return header, lines


def _rise(judged: Sequence[Row], method: str, skipped: float) -> str:
    """Of bits per byte, with the best allocation."""
    some = [
        row for row in judged
        if row.get("method") == method and row.get("sparsity") == skipped and "percent" not in row
        and (row["allocation"] == "neurons") == (method in BY_NEURONS)
    ]  # fmt: skip
    if not some:
        return ""
    best = min(some, key=lambda row: float(row["bits_per_byte"]))
    how = "" if method in BY_NEURONS else f" ({best['allocation']})"
    return f"{best['bits_per_byte'] - best['dense_bits_per_byte']:+.3f}{how}"


def _cores(threads: int) -> str:
    return "1 core" if threads == 1 else f"{threads} cores"
