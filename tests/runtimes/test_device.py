"""What the runtimes adb and ssh have in common, each on its test device: outputs, pushing, tidying up.

The faults are in test_device_faults.py.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import edgesparse as es
from edgesparse import runtimes
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import read_manifest
from edgesparse.runtimes import adb_client
from tests import tiny_models
from tests.attached.faults import Attached

from .conftest import INPUT_BYTES, INPUTS, K, MakeBundle, X, is_right, write_manifest

pytestmark = pytest.mark.usefixtures("nothing_stays_here")


def stored(device: Attached) -> list[Path]:
    """The files of bundles in the device's store."""
    return [file for file in device.root.root.glob("*/**/edgesparse/*") if len(file.name) == 64]


@pytest.mark.usefixtures("nothing_stays_there")
def test_outputs_are_those_of_onnxruntime_and_qemu(attached: Attached, tmp_path: Path) -> None:
    onnx.save(tiny_models.classifier(), tmp_path / "m.onnx")
    bundle = es.compile(es.load(tmp_path / "m.onnx"), device="pixel-8", out=tmp_path / "m.edge")
    samples = tiny_models.numbers(3, 2, 8, 8)
    with runtimes.open(bundle, attached.runtime) as session, runtimes.open(bundle, "qemu") as emulator:
        there = session.run({"x": samples}, each=True)["y"]
        times = session.time_calls({"x": samples[:1]}, num_runs=3)
        here = emulator.run({"x": samples}, each=True)["y"]
    expected = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"x": samples})[0]
    assert np.array_equal(there, here) and np.array_equal(times.outputs[0], here[:1])
    assert len(times.wall_ns) == len(times.call_ns) == 3
    assert np.allclose(there, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("nothing_stays_there")
def test_a_session_runs_and_times(attached: Attached, toy: MakeBundle) -> None:
    with runtimes.open(toy("executable"), attached.runtime, threads=2 if len(os.sched_getaffinity(0)) > 1 else 1) as s:
        assert is_right(s.run(INPUTS))
        stack = s.run({"x": np.repeat(X, 3, 0), "k": np.stack([K, K + 1, K + 2])}, each=True)
        assert np.array_equal(stack["n"], np.stack([K + 1, K + 2, K + 3]))
        result = s.bench(INPUTS, num_runs=5, warmup_runs=1)
        assert len(result.wall_ns) == 5 and min(result.wall_ns) > 0 and np.array_equal(result.outputs["n"], K + 1)
        assert s.machine["timing"] == "on the device" and s.machine["isa"] == "toy"
    s.close()
    with pytest.raises(RuntimeFailure, match="the session is closed"):
        s.run(INPUTS)


@pytest.mark.usefixtures("nothing_stays_there")
@pytest.mark.parametrize(("options", "words"), [({"threads": 257}, "257"), ({"threads": 200}, "may use"),
                                                ({"timeout_s": 0}, "not a time limit")])  # fmt: skip
def test_options_that_cannot_be(attached: Attached, toy: MakeBundle, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        runtimes.open(toy("executable"), attached.runtime, **options)
    assert attached.pushed_bytes == 0


def test_what_is_kept_is_not_pushed_again(attached: Attached, toy: MakeBundle) -> None:
    bundle = toy("executable")
    with runtimes.open(bundle, attached.runtime, keep=True) as session:
        assert is_right(session.run(INPUTS))
    there = {hashlib.sha256(file.read_bytes()).hexdigest() for file in stored(attached)}
    files = read_manifest(bundle).files
    assert there == {file.name for file in stored(attached)} == {files["model"], files["weights.bin"]}
    kept, before = attached.root.files(), attached.pushed_bytes
    for keep in (False, True):  # neither removes what the first session left
        with runtimes.open(bundle, attached.runtime, keep=keep) as session:
            assert attached.pushed_bytes == before
            assert is_right(session.run(INPUTS))
        before += INPUT_BYTES
        assert (attached.pushed_bytes, attached.root.files()) == (before, kept)


@pytest.mark.parametrize("damage", ["other content", "shorter"])
def test_what_is_damaged_there_is_pushed_again(attached: Attached, toy: MakeBundle, damage: str) -> None:
    bundle = toy("executable")
    runtimes.open(bundle, attached.runtime, keep=True).close()
    (weights,) = (file for file in stored(attached) if file.name == read_manifest(bundle).files["weights.bin"])
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + (b"!" if damage == "other content" else b""))
    before = attached.pushed_bytes
    with runtimes.open(bundle, attached.runtime) as session:
        assert attached.pushed_bytes == before + len(content)
        assert is_right(session.run(INPUTS))


@pytest.mark.usefixtures("nothing_stays_there")
def test_two_sessions_share_what_is_pushed(attached: Attached, toy: MakeBundle) -> None:
    """And either may go first: what the other one misses then is pushed again."""
    bundle = toy("executable")
    first = runtimes.open(bundle, attached.runtime)
    before = attached.pushed_bytes
    second = runtimes.open(bundle, attached.runtime)
    assert attached.pushed_bytes == before
    first.close()
    assert not stored(attached)
    assert is_right(second.run(INPUTS))
    second.close()


def test_nothing_else_is_touched(attached: Attached, toy: MakeBundle) -> None:
    mine = attached.root.root / attached.root.home.lstrip("/") / ".cache/mine"
    store = attached.root.root / "data/local/tmp/edgesparse"
    for file in (mine, store / "mine"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    before = attached.root.files()
    with runtimes.open(toy("executable"), attached.runtime) as session:
        session.run(INPUTS)
    assert attached.root.files() == before and mine.read_text() == "mine"


@pytest.mark.usefixtures("nothing_stays_there")
@pytest.mark.parametrize("name", ["-rf $(touch pwned).edge", "a'b\"; touch pwned; `x`.edge", "line\nbreak &.edge"])
def test_odd_names_are_harmless(
    attached: Attached, toy: MakeBundle, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bundle = toy("executable")
    monkeypatch.chdir(bundle.parent)
    bundle.rename(name)
    with runtimes.open(Path(name), attached.runtime) as session:
        assert is_right(session.run(INPUTS))
    assert not list(bundle.parent.rglob("pwned"))


def test_pushing_says_how_far_it_is(attached: Attached, toy: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are there of bytes in all, from none to all, however late the device is."""
    monkeypatch.setattr(adb_client, "LOOK_S", 0.05)
    attached.faults.slow_push_s = 0.02
    bundle = toy("executable")
    with (bundle / "model").open("ab") as file:
        file.write(bytes(2 << 20))  # behind what the system loads
    write_manifest(bundle, "executable")
    total = sum((bundle / name).stat().st_size for name in ("model", "weights.bin"))
    told: list[tuple[int, int, str]] = []
    with runtimes.open(bundle, attached.runtime, on_push=lambda *how_far: told.append(how_far)) as session:
        pushed = len(told)
        assert is_right(session.run(INPUTS)) and len(told) == pushed  # inputs are not worth a word
    done = [there for there, _, _ in told]
    assert done == sorted(done) and 0 <= done[0] < done[-1] <= total and len(set(done)) > 5
    assert {(of, what) for _, of, what in told} == {(total, "sending bytes")}


def test_a_device_without_sha256sum_tells_files_by_their_size(attached: Attached, toy: MakeBundle) -> None:
    missing = attached.root.root / "system/bin/sha256sum"
    missing.write_text("#!/bin/sh\nexit 127\n")
    missing.chmod(0o755)
    bundle = toy("executable")
    with runtimes.open(bundle, attached.runtime, keep=True) as session:
        assert is_right(session.run(INPUTS))
    before = attached.pushed_bytes
    runtimes.open(bundle, attached.runtime).close()
    assert attached.pushed_bytes == before
