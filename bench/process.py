"""A program that answers messages over its pipes, and what became of it when it does not."""

from __future__ import annotations

import contextlib
import select
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from typing_extensions import Self


class ChildFailure(Exception):
    """The engine raised, crashed or hung."""


class Process:
    """A context manager: leaving it ends the process. ``limit_s``: for one answer."""

    def __init__(
        self, command: Sequence[str], folder: Path, limit_s: float, environment: Mapping[str, str] | None = None
    ) -> None:
        self._limit_s = limit_s
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  (closed in __exit__)
        self._process = subprocess.Popen(
            command, env=environment, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words
        )

    @property
    def to(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def answer(self, what: str) -> IO[bytes]:
        """Where the answer to ``what`` can be read. Raises ChildFailure where none comes."""
        assert self._process.stdout is not None
        # answers are read whole, so that nothing of one can wait in the pipe's buffer unseen by select
        if not select.select([self._process.stdout], [], [], self._limit_s)[0]:
            self._process.kill()
            raise ChildFailure(f"no answer to '{what}' within {self._limit_s:g} s; it was stopped")
        return self._process.stdout

    def end(self) -> str:
        """How the process ended, and the last it said."""
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{how}: {lines[-1]}" if lines else how

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.to.close()
        try:
            # destructors of engines have been seen to hang, and results are in already
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._words.close()
