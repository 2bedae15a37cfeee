"""The tour: a small trained model, sparsified, compiled for three targets, run on real test images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import edgesparse as es
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import read_manifest

TARGETS = (("host", "local"), ("rpi5", "qemu"), ("browser", "auto"))
SPARSITIES = (0.0, 0.5, 0.75)


def quickstart(folder: Path, *, force: bool = False) -> list[dict[str, Any]]:
    """One row per target and sparsity, with accuracy on the 200 test images of examples/.

    An engine that is not installed is named in its row, with the command that installs it.

    Raises:
        InputError: the examples are not there, or ``folder`` holds bundles and ``force`` is false.
    """
    examples = Path(__file__).parent / "examples"
    source, test = examples / "digits.onnx", examples / "digits_test.npz"
    if not source.is_file() or not test.is_file():
        raise InputError(
            "the example model is not there", where=str(source), hint="python examples/train_digits.py makes it"
        )
    data = np.load(test)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for sparsity in SPARSITIES:
        model = es.load(source)
        if sparsity:
            es.sparsify(model, pattern="block:4x1", sparsity=sparsity)
        es.save(model, folder / f"digits-{sparsity:.0%}.onnx".replace("%", ""))
        for device, runtime in TARGETS:
            out = folder / f"digits-{sparsity:.0%}-{device}.edge".replace("%", "")
            bundle = es.compile(model, device=device, out=out, force=force)
            rows.append(_row(bundle, device, sparsity, runtime, data))
    return rows


def _row(bundle: Path, device: str, sparsity: float, runtime: str, data: Any) -> dict[str, Any]:
    manifest = read_manifest(bundle)
    row: dict[str, Any] = {
        "device": device, "sparsity": sparsity, "accuracy": None,
        "code_bytes": manifest.code_bytes, "weights_bytes": manifest.weights_bytes,
        "arena_bytes": manifest.arena_bytes, "latency_us": None, "file": str(bundle), "note": "",
    }  # fmt: skip
    try:
        with es.open(bundle, runtime=runtime) as session:
            outputs = session.run({manifest.inputs[0].name: data["image"]}, each=True)
            logits = next(iter(outputs.values())).reshape(len(data["labels"]), -1)
            row["accuracy"] = float((logits.argmax(axis=1) == data["labels"]).mean())
            if runtime == "local":
                result = session.bench({manifest.inputs[0].name: data["image"][:1]}, num_runs=50, warmup_runs=5)
                row["latency_us"] = float(np.median(result.wall_ns)) / 1000
    except RuntimeFailure as error:
        row["note"] = f"not run: {error.what}; {error.hint}"
    return row
