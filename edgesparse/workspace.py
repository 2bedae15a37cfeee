"""Temporary folders that vanish even when the process is killed: the next one sweeps them up."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = ".edgesparse-"
OLD = "old"  # what a workspace holds under this name is put back if nothing has taken its place


@contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """A new folder in ``parent``, removed at the end; removes first what killed processes left there.

    A lock on the folder says that its process lives: process numbers mean nothing to another container
    that sees the same disk.

    Raises:
        OSError: ``parent`` is missing, full or cannot be written.
    """
    sweep(parent)
    folder, lock = _locked(parent)
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def sweep(parent: Path) -> None:
    """Remove workspaces in ``parent`` that nobody holds. Those of other users are theirs to remove."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # not ours, or swept by somebody else just now
            continue
        try:
            if _take(lock):
                _remove(folder)
        finally:
            os.close(lock)


def _locked(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # another process swept it before it was opened
            continue
        if _take(lock) and folder.exists():
            return folder, lock
        os.close(lock)  # another process swept it before it was locked


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(folder: Path) -> None:
    # it ended after something was moved aside and before the new one was in its place
    for path in (folder / OLD).glob("*"):
        place = folder.parent / path.name
        if not os.path.lexists(place):
            path.rename(place)
    shutil.rmtree(folder, ignore_errors=True)  # what cannot be removed harms nobody
