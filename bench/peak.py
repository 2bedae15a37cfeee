"""The limits of this machine, measured: multiply-adds per second and bytes read per second, one core."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesparse.build import zig
from edgesparse.devices import load_device
from edgesparse.kernels import ISAS
from edgesparse.places import cache_dir
from edgesparse.types import Target

SIZES_KB = {"l1": 24, "l2": 256, "memory": 65536}
"""Working sets that lie in each level on every machine of the last ten years. L3 is shared, so it is left out."""


@dataclass(frozen=True, slots=True)
class Peak:
    """``gflops``: 1e9 floating-point operations (two a multiply-add); ``read_gbs``: 1e9 bytes, by working set."""

    isa: str
    gflops: float
    read_gbs: dict[str, float]


def peak(target: Target | None = None, passes: int = 7) -> Peak:
    """The best of ``passes`` short passes: a limit is what was reached once. Takes about two seconds."""
    target = target or load_device("host").target
    isa = target.machine.isa
    library = _library(target)
    rounds, lanes = 2_000_000, ISAS[isa].width
    chains = 24 if lanes == 16 else 12
    seconds = min(_seconds(lambda: library.es_multiply_adds(ctypes.c_int64(rounds))) for _ in range(passes))
    found = {}
    for level, size_kb in SIZES_KB.items():
        data = np.ones(size_kb * 256, np.float32)
        at = data.ctypes.data + -data.ctypes.data % 64
        bytes_ = (size_kb - 1) * 1024
        repeats = max(1, 65536 // size_kb)
        taken = [_seconds(lambda: library.es_read(*map(ctypes.c_int64, (at, bytes_, repeats)))) for _ in range(passes)]  # noqa: B023
        found[level] = bytes_ * repeats / min(taken) / 1e9
    return Peak(isa, 2 * chains * lanes * rounds / seconds / 1e9, found)


def _library(target: Target) -> ctypes.CDLL:
    source, isa = Path(__file__).with_name("peak.c"), ISAS[target.machine.isa]
    folder = cache_dir() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"peak-{isa.name}.so"
    flags = ["-O2", "-g0", "-fno-sanitize=all", "-ffp-contract=fast", "-fno-vectorize", f"-DES_VL={isa.width}"]
    zig("cc", ["-target", target.triple, *isa.flags, *flags, "-shared", "-fPIC", source, "-o", out], folder)
    library = ctypes.CDLL(str(out))
    library.es_multiply_adds.restype = library.es_read.restype = ctypes.c_float
    return library


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
