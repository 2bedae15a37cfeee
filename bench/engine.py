"""What an engine is to the benchmark: one file in ``bench/peers/`` with ``prepare(network) -> Engine``.

A peer is a module with

* ``REQUIREMENTS``: what pip installs into an environment of its own; empty: it runs in the project's environment;
* ``prepare(network: Network) -> Engine``: convert and load. The engine's package is imported in there, because the
  parent reads this file in an environment that lacks it.

and optionally ``WITHOUT_DEPENDENCIES`` (installed with --no-deps) and ``PYTHONS`` (the minor versions of Python 3
that its wheels are made for). A peer may import the standard library, NumPy, its own requirements and this folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """An ONNX file, its inputs and outputs (all float32) in order, and an empty folder for whatever is made of it."""

    onnx: Path
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    folder: Path
    threads: int


class Engine(Protocol):
    """A loaded network. Only `run` is timed; what an application does once per network belongs elsewhere."""

    @property
    def version(self) -> str: ...

    def feed(self, inputs: Sequence[Array]) -> None:
        """Take the inputs, in the order and shapes of the network (NCHW), for all runs that follow."""
        ...

    def run(self) -> None:
        """One inference."""
        ...

    def outputs(self) -> list[Array]:
        """What the last `run` computed, in the order and shapes of the network."""
        ...


class CannotRun(Exception):
    """The engine, or our conversion for it, does not take this network: reported, not timed."""


def aligned(array: Array, bytes: int = 64) -> Array:
    """A copy whose data starts at a multiple of ``bytes``, like the buffers of applications that care."""
    buffer = np.empty(array.nbytes + bytes, np.uint8)
    start = -buffer.ctypes.data % bytes
    copy: Array = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
