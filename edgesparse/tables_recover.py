"""What `recover` prints."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.report import kilobytes, note, print_facts, print_json

if TYPE_CHECKING:
    from edgesparse.sparsity.recover import RecoverReport


def recovered(path: Path, report: RecoverReport, json: bool) -> None:
    if json:
        return print_json({"file": str(path), **dataclasses.asdict(report)})
    if report.hidden_note:
        note(report.hidden_note)
    if report.best_epoch == 0:
        note("no epoch was better on the held-out samples than the start: the weights are as they were")
    hidden = f"{report.hidden} of {report.layers} layers"
    if report.reordered:
        hidden += f", {report.reordered} with their channels in another order"
    print_facts(
        "Recovered",
        {
            "samples": f"{report.samples} to train with, {report.held_out} held out",
            "epochs": f"{report.epochs}, the best is {report.best_epoch} ({report.stopped})",
            "held-out loss": f"{report.loss_before:.4g} before, {report.loss_after:.4g} after",
            "hidden states": hidden if report.hidden else "none: outputs only",
            "augmentation": ", ".join(report.augmentation) or "none",
            "zeros": f"{100 * report.zeros:.1f}% of {report.weights} pruned weights, as before",
            "CPU time": f"{report.cpu_minutes:.1f} minutes",
        },
    )
    print(f"wrote {path} ({kilobytes(path.stat().st_size)})")
    return None
