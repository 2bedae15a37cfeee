"""The digits compiled for what they are profiled on, and two profiles of them: fixtures of several files."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgesparse as es
from edgesparse.profile import Profile, profile
from edgesparse.runtimes import open as open_bundle
from edgesparse.samples import random_inputs
from tests.conftest import PROJECT

DIGITS = PROJECT / "examples" / "digits.onnx"
DEVICES = {"local": "host", "qemu": "rpi5", "node": "browser", "wasmtime": "browser"}


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("profiled")
    return {d: es.compile(es.load(DIGITS), d, folder / f"{d}.edge") for d in sorted({*DEVICES.values()})}


@pytest.fixture(scope="session")
def two(bundles: dict[str, Path]) -> list[Profile]:
    """The same bundle twice, in turns."""
    sessions = [open_bundle(bundles["host"], "local") for _ in range(2)]
    found = profile(sessions, [random_inputs(s.manifest) for s in sessions], num_runs=7, warmup_runs=1)
    for session in sessions:
        session.close()
    return found
