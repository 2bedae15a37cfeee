"""Functions in files of the user: ``FILE.py:FUNCTION``. The code runs in this process, as under ``python FILE.py``."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from edgesparse.errors import EdgeSparseError, InputError


def load_function(reference: str, usage: str) -> Callable[..., Any]:
    """The function that ``FILE.py:FUNCTION`` names. This runs the code of the file.

    Calls of the result are guarded as the file itself is: its folder can be imported from, what it prints goes to
    stderr, and an error in it is an InputError with the line.

    Raises:
        InputError: no such file or function, or the file fails. ``usage`` is the hint.
    """
    file, colon, name = reference.rpartition(":")
    path = Path(file if colon else reference)
    if not path.is_file():
        raise InputError("no such Python file", where=str(path), hint=usage)
    if not name or not colon:
        raise InputError("which function of it?", where=str(path), hint=usage)
    with _users_code(path):
        loaded = _load(path, usage)
        function = getattr(loaded, name, None)
        if not callable(function):
            near = difflib.get_close_matches(name, _functions(loaded), n=3) or _functions(loaded)
            raise InputError(f"no function '{name}'", where=str(path), hint=f"it has {', '.join(near) or 'none'}")

    def guarded(*arguments: Any) -> Any:
        with _users_code(path):
            return function(*arguments)

    return guarded


def _load(path: Path, usage: str) -> ModuleType:
    name = f"edgesparse_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError("not a Python file", where=str(path), hint=usage)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded  # dataclasses and pickle look their module up here
    spec.loader.exec_module(loaded)
    return loaded


@contextmanager
def _users_code(path: Path) -> Iterator[None]:
    """Errors in the file are the user's: one line with the place in it, not a traceback through this package."""
    sys.path.insert(0, str(path.absolute().parent))
    try:
        with redirect_stdout(sys.stderr):
            yield
    except EdgeSparseError:
        raise
    except Exception as error:
        names = (str(path), str(path.absolute()))
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename in names]
        if isinstance(error, SyntaxError) and error.filename in names:
            lines.append(error.lineno)
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise InputError(f"{type(error).__name__}: {error}", where=where, hint="the error is in this file") from error
    finally:
        sys.path.remove(str(path.absolute().parent))


def _functions(module: ModuleType) -> list[str]:
    """Public functions that are defined in ``module`` itself."""
    found = inspect.getmembers(module, inspect.isfunction)
    return [name for name, f in found if f.__module__ == module.__name__ and not name.startswith("_")]
