"""A Python environment for each peer that has requirements, created on first use and kept in the cache."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from bench import cache


class Unavailable(Exception):
    """The engine cannot be had here. ``command`` is what installs it."""

    def __init__(self, reason: str, command: str) -> None:
        self.command = command
        super().__init__(reason)


def python_for(name: str, peer: ModuleType) -> Path:
    """The Python that runs ``peer``, in an environment with its requirements.

    Raises:
        Unavailable: no Python of a version it needs, or pip failed.
    """
    requirements: tuple[str, ...] = peer.REQUIREMENTS
    bare: tuple[str, ...] = getattr(peer, "WITHOUT_DEPENDENCIES", ())
    if not requirements:
        return Path(sys.executable)
    base = _base_python(name, getattr(peer, "PYTHONS", ()))
    words = [_version(base), *requirements, *bare]
    folder = cache.folder("environments") / f"{name}-{hashlib.sha256(' '.join(words).encode()).hexdigest()[:10]}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if complete.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
    print(f"{name}: creating its environment in {folder}", file=sys.stderr)
    pip = [str(python), "-m", "pip", "install", *([] if sys.stderr.isatty() else ["--quiet"])]
    steps: list[Sequence[str]] = [[base, "-m", "venv", str(folder)], [*pip, *requirements]]
    steps += [[*pip, "--no-deps", *bare]] if bare else []
    for step in steps:
        print(f"  {shlex.join(step)}", file=sys.stderr)
        # pip shows its own progress; our stdout is for results
        if subprocess.run(step, stdout=sys.stderr, check=False).returncode != 0:
            commands = " && ".join(shlex.join(s) for s in steps)
            raise Unavailable(f"its environment could not be created: {shlex.join(step)} failed", commands)
    complete.touch()
    return python


def _base_python(name: str, minors: Sequence[int]) -> str:
    """This Python, or another one on the path where the peer's wheels are for others."""
    if not minors or sys.version_info[1] in minors:
        return sys.executable
    for minor in sorted(minors, reverse=True):
        if found := shutil.which(f"python3.{minor}"):
            return found
    wanted = " or ".join(f"3.{minor}" for minor in minors)
    raise Unavailable(f"{name} needs Python {wanted}, which is not on the path", f"install Python {wanted}")


def _version(python: str) -> str:
    """Of an interpreter; part of the folder's name, because compiled packages fit one version only."""
    done = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip() or done.stderr.strip()
