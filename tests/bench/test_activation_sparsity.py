"""bench.activation_sparsity: its cases, and its section of RESULTS.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.activation_sparsity import cases
from bench.sections import pictures, section
from edgesparse.decoder.achieved import achieved
from tests.decoder.made import decoder as made


def row(method: str, allocation: str, sparsity: float, bits: float) -> dict[str, Any]:
    return {
        "what": "activation sparsity", "command": "python -m bench.activation_sparsity", "model": "made",
        "machine": {}, "dense_bits_per_byte": 1.8, "dense_bytes_per_token": 4_500_000, "method": method,
        "allocation": allocation, "sparsity": sparsity, "neurons": None, "bits_per_byte": bits, "achieved": sparsity,
        "bytes_per_token": 2_500_000, "layers": {"0.q": 0.25, "0.down": 0.75}, "cpu_seconds": 1.0,
    }  # fmt: skip


def test_the_section_has_each_method_and_the_best_in_bold() -> None:
    rows = [
        row("wina", "network", 0.5, 1.85), row("random", "uniform", 0.5, 4.0), row("teal", "uniform", 0.5, 1.9),
        row("teal", "uniform", 0.6, 1.95), row("cats", "neurons", 0.5, 1.82),
    ]  # fmt: skip
    own = {"percent": 1.0, "cett": 0.2, "neurons": 0.75, "layers": [0.7, 0.8], "ratio": 1.01}
    lazy = {"lazy": [{"nonzero": 1.0, "half": 0.1}, {"nonzero": 1.0, "half": 0.12}]}
    text = section([*rows, {**rows[0], **own, **lazy}])
    assert "| wina, network | **1.850** |  |" in text
    assert "| magnitude (TEAL without allocation) | 1.900 | **1.950** |" in text
    assert text.index("random, uniform") < text.index("magnitude (TEAL")
    assert "| cats, neurons | 1.820; 50.0 |" in text and "| 0 | 25 | 75 |" in text
    assert "| PPL-1% | 75.0 | 0.200 | 70 80 |" in text
    (picture,) = pictures(rows).values()
    assert "rise in bits per byte" in picture and "1.00 bits" in picture and "2.20 bits" not in picture


def test_every_case_skips_what_it_says() -> None:
    decoder = made()
    text = np.random.default_rng(0).integers(decoder.vocabulary, size=(32, 32))
    found = list(cases(decoder, text, [0.3], ["random", "teal", "wina", "rsparse", "topk", "cats", "chess"]))
    assert len({case[:3] for case in found}) == len(found) == 14
    for method, allocation, sparsity, _, make in found:
        if allocation != "neurons":
            skipped = achieved(make(), text).sparsity
            assert skipped == pytest.approx(sparsity, abs=0.03), (method, allocation)
