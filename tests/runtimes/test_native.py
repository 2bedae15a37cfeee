"""A program for this machine's own CPU runs without an emulator; one for another is not taken for one of ours."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

import edgesparse as es
from edgesparse import runtimes
from edgesparse.compare import compare
from edgesparse.devices import load_device
from edgesparse.errors import RuntimeFailure
from edgesparse.samples import random_inputs
from tests.conftest import PROJECT

MODEL = PROJECT / "examples" / "digits.onnx"
DEVICE = {"x86_64": "x86-64", "aarch64": "rpi5"}[platform.machine()]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(es.compile(es.load(MODEL), DEVICE, tmp_path_factory.mktemp("native") / "m.edge"))


@pytest.mark.parametrize("threads", [1, 0])
def test_the_program_runs_here(bundle: Path, threads: int) -> None:
    with runtimes.open(bundle, "qemu", threads=threads) as session:
        (error,) = compare(MODEL, session, random_inputs(session.manifest))
        timed = session.time_calls(random_inputs(session.manifest), num_runs=3, warmup_runs=1)
    assert error.max_rel < 1e-5 and session.machine["timing"] == "native" and session.machine["emulator"] == "none"
    assert len(timed.wall_ns) == 3 and session.machine["isa"] in load_device(DEVICE).isas


def test_the_library_beside_it(bundle: Path) -> None:
    with runtimes.open(bundle, "local") as one, runtimes.open(bundle, "qemu") as other:
        inputs = random_inputs(one.manifest)
        assert all(np.array_equal(one.run(inputs)[k], other.run(inputs)[k]) for k in one.run(inputs))


def test_another_cpu_needs_its_emulator(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = platform.machine()
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeFailure, match=f"emulator qemu-{needed} is not installed"):
        runtimes.open(bundle, "qemu")
