"""time_calls.c, compiled for this machine when it is first needed."""

from __future__ import annotations

import ctypes
import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

from edgesparse.build import cache_dir, zig
from edgesparse.devices import load_device

SOURCE = Path(__file__).parent / "c" / "time_calls.c"


@cache
def call_timer() -> Any:
    """The library with ``es_time_run`` and ``es_time_calls`` of time_calls.c.

    Raises:
        BuildError: the compiler does not work.
        InputError: the cache cannot be written to.
    """
    triple = load_device("host").triple
    name = f"time_calls-{hashlib.sha256(SOURCE.read_bytes() + triple.encode()).hexdigest()[:16]}"
    folder = cache_dir() / "objects"
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / f"{name}.so"
    if not done.is_file():
        part = folder / f"{name}-{os.getpid()}.so"
        zig("cc", ["-target", triple, "-O2", "-g0", "-shared", "-fPIC", SOURCE, "-o", part], folder)
        part.replace(done)
    library = ctypes.CDLL(str(done))
    library.es_time_run.argtypes = [ctypes.c_void_p] * 6
    library.es_time_calls.argtypes = [ctypes.c_void_p, ctypes.c_int, *[ctypes.c_void_p] * 5]
    return library
