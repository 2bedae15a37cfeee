"""The command line, called in process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgesparse import cli

from .refusals import Call


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """``call("compile", "m.onnx", ...) -> (exit code, stderr)``, in the folder ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["edgesparse", *arguments])
        code: object = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        err = capfd.readouterr().err
        assert isinstance(code, int) and "Traceback" not in err
        return code, err

    return run
