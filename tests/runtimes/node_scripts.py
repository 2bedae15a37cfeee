"""Scripts for node.js around a model: what test_web_load.py and test_web_model.py share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.web import script

Built = Callable[..., Path]
X_AND_K = "const inputs = { x: Float32Array.of(0, 1, 2, 3, 4), k: BigInt64Array.of(1n, -2n, 2n ** 40n) };"
WORKER = pytest.mark.parametrize("worker", ["true", "false"], ids=["worker", "here"])


def run(bundle: Path, body: str, *flags: str, timeout_s: float = 60) -> list[str]:
    """The lines that it prints."""
    done = script(bundle, f"{X_AND_K}\n{body}", *flags, timeout_s=timeout_s)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.splitlines()
