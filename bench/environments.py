"""An environment for each peer that has requirements, of Python or of npm: created on first use, kept in the cache."""

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


def packages_for(name: str, requirements: Sequence[str]) -> Path:
    """The ``node_modules`` with ``requirements`` (``package@version``).

    Raises:
        Unavailable: no npm, or it failed.
    """
    digest = hashlib.sha256(" ".join(requirements).encode()).hexdigest()[:10]
    folder = cache.folder("packages") / f"{name}-{digest}"
    modules, complete = folder / "node_modules", folder / "complete"
    if complete.exists():
        return modules
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("npm is not on the path", "install node.js with npm")
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
    folder.mkdir(parents=True)
    # without one, npm would look for a package.json in the folders above
    (folder / "package.json").write_text('{"private": true}\n')
    # no script of any package runs
    step = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact", *requirements]
    print(f"{name}: {shlex.join(step)} in {folder}", file=sys.stderr)
    if subprocess.run(step, cwd=folder, stdout=sys.stderr, check=False).returncode != 0:
        raise Unavailable("its packages could not be installed", shlex.join(step))
    complete.touch()
    return modules


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
