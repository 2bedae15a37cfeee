"""What `calibrate-activations` prints: tables, or one JSON document with the same facts and more."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgesparse.decoder.calibrate import Calibrated
from edgesparse.decoder.model import InputRule, NeuronRule
from edgesparse.decoder.perplexity import doubt
from edgesparse.report import print_facts, print_json, print_table, warn

_FAR = 0.05  # of all weights: by more than that the text that judges is unlike the one that calibrates


def calibrated(path: Path, found: Calibrated, text_bytes: int, tokens: int, json: bool) -> None:
    """``text_bytes`` and ``tokens`` of the text, for bits per byte."""
    if what := doubt(found.dense.score, found.decoder.vocabulary):
        warn(what)
    per_byte = tokens / text_bytes
    said = {
        "file": str(path), "method": found.method, "allocation": found.allocation, "asked": found.asked,
        "sparsity": found.found.sparsity, "dense_positions": found.decoder.dense_positions,
        "bits_per_byte": found.found.score.bits * per_byte,
        "dense_bits_per_byte": found.dense.score.bits * per_byte,
        "perplexity": found.found.score.perplexity, "dense_perplexity": found.dense.score.perplexity,
        "bytes_per_token": found.found.bytes_per_token, "dense_bytes_per_token": found.dense.bytes_per_token,
        "window": found.window, "calibrating_windows": found.calibrating, "judging_windows": found.judging,
    }  # fmt: skip
    if json:
        return print_json({
            **said, "layers": list(_layers(found)), "lazy": [dataclasses.asdict(x) for x in found.lazy],
            "ppl_sparsity": None if found.neurons is None else dataclasses.asdict(found.neurons),
        })  # fmt: skip
    rows = [
        (f"{x['block']}.{x['site']}", x["rule"], _range(x["threshold"]), x["rank"] or "", _percent(x["calibrated"]),
         _percent(x["achieved"]))
        for x in _layers(found)
    ]  # fmt: skip
    columns = ("layer", "skips", "threshold", "rank", "calibrated %", "weights not read %")
    print_table("Layers; what is not read was counted on the text that judges", columns, rows)
    if found.lazy:
        print_table(
            "Neurons by themselves", ("block", "not zero %", "half of the output is of %"),
            [(x.block, _percent(x.nonzero), _percent(x.half)) for x in found.lazy],
        )  # fmt: skip
    facts = {
        "bits per byte": f"{said['bits_per_byte']:.4f}, dense {said['dense_bits_per_byte']:.4f}",
        "perplexity per token": f"{said['perplexity']:.4f}, dense {said['dense_perplexity']:.4f}",
        "weights of the linear layers": f"{100 * found.found.sparsity:.1f}% not read",
        "bytes a token, weights of 8 bits": f"{found.found.bytes_per_token:,}, dense {found.dense.bytes_per_token:,}",
        "made on": f"{found.calibrating} windows of {found.window} tokens, judged on {found.judging} others; the first "
        f"{found.decoder.dense_positions} positions stay dense",
    }  # fmt: skip
    if found.neurons is not None:
        facts["PPL-1% sparsity"] = f"{100 * found.neurons.sparsity:.1f}% of the neurons (CETT {found.neurons.cett:.3f})"
    print_facts(f"wrote {path}: {found.method}", facts)
    far = [x for x in _layers(found) if x["rank"] == 0 and abs(x["achieved"] - x["calibrated"]) > _FAR]
    if far:
        warn(
            f"{len(far)} layers skip another share than they were calibrated for, by up to "
            f"{100 * max(abs(x['achieved'] - x['calibrated']) for x in far):.0f}%: the text varies; give more of it"
        )
    return None


def _layers(found: Calibrated) -> Iterator[dict[str, Any]]:
    for index, block in enumerate(found.decoder.blocks):
        for site, layer in block.linears():
            rule: InputRule | NeuronRule | None = layer.rule
            kind = "inputs"
            if block.neurons is not None and site in ("up", "down"):
                rule, kind = block.neurons, "neurons"
            threshold = None if rule is None or rule.spread is not None else rule.threshold
            yield {
                "block": index, "site": site, "rule": "" if rule is None else kind,
                "threshold": None if threshold is None else [float(threshold.min()), float(threshold.max())],
                "spread": None if rule is None else rule.spread, "rank": layer.rule.rank if layer.rule else 0,
                "calibrated": 0.0 if rule is None else rule.sparsity, "achieved": found.found.shares[index, site],
            }  # fmt: skip


def _range(threshold: list[float] | None) -> str:
    if threshold is None:
        return ""
    low, high = threshold
    return f"{low:.3g}" if np.isclose(low, high) else f"{low:.3g} to {high:.3g}"


def _percent(share: float) -> float:
    return round(100 * share, 1)
