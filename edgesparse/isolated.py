"""Runs code of others that may end its process, in a process of its own."""

from __future__ import annotations

import faulthandler
import os
import resource
import select
import signal
import time
import warnings
from collections.abc import Callable

LIMIT_S = 300.0


class IsolatedError(Exception):
    """The work raised this, or ended its process, or took too long."""


def isolated(work: Callable[[], bytes]) -> bytes:
    """What ``work()`` returns, computed in a fork of this process.

    Meant for a single call into a C++ library on data that is already at hand: other threads of this
    process do not exist in the fork, so ``work`` must not wait for them.

    Raises:
        IsolatedError: ``work`` raised (its message), died (the signal) or did not end in five minutes.
    """
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks in general, see above
        pid = os.fork()
    if pid == 0:
        _child(work, read, write)
    os.close(write)
    try:
        answer = _answer(read)
    finally:
        os.close(read)
        os.kill(pid, signal.SIGKILL)  # it has answered, or never will
        _, status = os.waitpid(pid, 0)
    if answer is None:
        raise IsolatedError(f"no answer in {LIMIT_S:g} seconds")
    if answer[:1] == b"+":
        return answer[1:]
    if answer[:1] == b"-":
        raise IsolatedError(answer[1:].decode(errors="replace"))
    raise IsolatedError(f"it crashed (signal {os.WTERMSIG(status)})")


def _child(work: Callable[[], bytes], read: int, write: int) -> None:
    """Never returns: what the parent would do at its end must not be done twice."""
    try:
        os.close(read)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the last words of a library that aborts
        try:
            answer = b"+" + work()
        except Exception as error:  # noqa: BLE001 (whatever it is, the parent raises it)
            answer = b"-" + str(error).encode(errors="replace")
        with open(write, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)


def _answer(read: int) -> bytes | None:
    """Everything until the other end is closed; None when that takes too long."""
    deadline = time.monotonic() + LIMIT_S
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([read], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        part = os.read(read, 1 << 20)
        if not part:
            return b"".join(parts)
        parts.append(part)
