"""A crash in a fork is an error here; nothing else crosses over."""

from __future__ import annotations

import os
import signal
import time

import pytest

from edgesparse import isolated as module
from edgesparse.isolated import IsolatedError, isolated


def test_the_answer_comes_back() -> None:
    assert isolated(lambda: b"x" * 3_000_000) == b"x" * 3_000_000
    assert isolated(lambda: b"") == b""


def _raise() -> bytes:
    raise ValueError("no good: é")


def _die() -> bytes:
    os.kill(os.getpid(), signal.SIGSEGV)
    return b""


def _sleep() -> bytes:
    time.sleep(60)
    return b""


def test_an_exception_keeps_its_message() -> None:
    with pytest.raises(IsolatedError, match="no good: é"):
        isolated(_raise)


def test_a_crash_is_an_error() -> None:
    with pytest.raises(IsolatedError, match=r"it crashed \(signal 11\)"):
        isolated(_die)


def test_a_hang_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_S", 0.2)
    with pytest.raises(IsolatedError, match=r"no answer in 0\.2 seconds"):
        isolated(_sleep)


def test_no_open_file_is_left() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for work in (lambda: b"y", _die, _raise):
        try:
            isolated(work)
        except IsolatedError:
            continue
    assert len(os.listdir("/proc/self/fd")) == before
