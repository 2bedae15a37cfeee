"""A missing engine skips a test on a developer's machine, and fails it where $CI is set."""

from __future__ import annotations

import os

import pytest

from .conftest import require, require_cpus


def test_missing_skips_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("QEMU", "")
    with pytest.raises(pytest.skip.Exception, match="apt-get install qemu-user-static"):
        require("qemu-aarch64")


def test_missing_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="no_such_program is missing"):
        require("no_such_program")


def test_present_passes() -> None:
    require("pytest")


def test_too_few_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    require_cpus(1)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs 2 CPUs, and this process may use 1"):
        require_cpus(2)
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="needs 2 CPUs"):
        require_cpus(2)
