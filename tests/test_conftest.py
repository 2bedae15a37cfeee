"""A missing engine skips a test on a developer's machine, and fails it where $CI is set."""

from __future__ import annotations

import pytest

from .conftest import require


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
