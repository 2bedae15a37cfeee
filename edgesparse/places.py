"""Where files that outlive a call are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Compiled kernels: ``$EDGESPARSE_CACHE``, else ``~/.cache/edgesparse``."""
    base = os.environ.get("EDGESPARSE_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgesparse"


def measured_dir() -> Path:
    """The user's own device database, what was measured of each: ``$EDGESPARSE_TUNED``, else ``tuned`` beside the
    compiled kernels.
    """
    folder = os.environ.get("EDGESPARSE_TUNED")
    return Path(folder) if folder else cache_dir() / "tuned"
