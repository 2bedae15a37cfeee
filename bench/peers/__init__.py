"""One engine a file, found by its name; what a file holds is in `bench.engine`."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

OURS = "edgesparse"


def known() -> list[str]:
    """Names of the engines we compare with."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != OURS)


def load(name: str) -> ModuleType:
    return importlib.import_module(f"bench.peers.{name}")
