"""Where files that outlive a call are kept on this machine, and how they are read again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from edgesparse.errors import InputError

Document = TypeVar("Document", bound=BaseModel)


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


def read_stored(path: Path, kind: type[Document], hint: str) -> Document | None:
    """A document of the user's; None where there is none.

    Raises:
        InputError: it is damaged; ``hint`` says what to do.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InputError(f"cannot be read: {str(error).splitlines()[0]}", where=str(path), hint=hint) from error
