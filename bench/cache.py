"""Where the benchmark keeps exported networks and the environments of peers."""

from __future__ import annotations

import os
from pathlib import Path


def folder(*parts: str) -> Path:
    """``$EDGESPARSE_CACHE/bench`` or ``~/.cache/edgesparse/bench``, and a folder in it; made where missing."""
    root = os.environ.get("EDGESPARSE_CACHE")
    base = Path(root) if root else Path.home() / ".cache" / "edgesparse"
    path = base.joinpath("bench", *parts)
    path.mkdir(parents=True, exist_ok=True)
    return path
