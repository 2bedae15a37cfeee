"""Places to write to: checked early, and temporary folders that vanish even when the process is killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesparse.errors import InputError

PREFIX = ".edgesparse-"
OLD = "old"  # what a workspace holds under this name is put back if nothing has taken its place


def check_place(out: Path, *, force: bool) -> None:
    """Refuse early, before minutes of work, what could not be written at the end.

    Raises:
        InputError: ``out`` exists without ``force``, or its folder is missing, no folder or not writable.
    """
    parent = out.absolute().parent
    try:
        if _is_there(out) and not force:
            raise InputError(
                "exists already", where=str(out), hint="force=True (--force) replaces it, or choose another place"
            )
        if not parent.is_dir():
            there = next(p for p in (parent, *parent.parents) if os.path.lexists(p))
            if not there.is_dir():
                shown = out.parent if there == parent else there
                raise InputError("is not a folder", where=str(shown), hint="choose another place to write to")
            raise InputError("no such folder", where=str(out.parent), hint=f"mkdir -p {out.parent}")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise InputError("the folder is not writable", where=str(out.parent), hint="choose another folder")
    except OSError as error:  # a name that is too long, a circle of links
        raise InputError((error.strerror or str(error)).lower(), where=str(out), hint="choose another name") from error


def _is_there(path: Path) -> bool:
    """As os.path.lexists, which takes a name that is too long for one that is free."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


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


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to the file ``path``, whole or not at all. Raises OSError where the disk refuses."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`."""
    with workspace(path.absolute().parent) as scratch:
        fresh = scratch / "fresh"
        fresh.write_bytes(content)
        fresh.replace(path)


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
