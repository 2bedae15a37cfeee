"""The commands `calibrate` and `profile` on the test devices: what they measure is stored for the device that it is."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import edgesparse as es
from edgesparse.cli import app
from edgesparse.devices import load_device
from edgesparse.devices.measured import read_measured
from edgesparse.tuned import tuned
from tests.attached.faults import Attached
from tests.conftest import PROJECT

MODEL = PROJECT / "examples" / "digits.onnx"
# Under an emulator probes and kernels take a thousand times as long: a model of two layers stands in for the reference.
LAYERS = 2


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESPARSE_TUNED", str(tmp_path / "tuned"))


def test_calibrate(attached: Attached, monkeypatch: pytest.MonkeyPatch) -> None:
    before = attached.root.files()
    calibrate, probe = (importlib.import_module(f"edgesparse.{name}") for name in ("calibrate", "probe"))
    lowered = calibrate.lowered

    def fewer(*arguments: object) -> object:
        graph, notes = lowered(*arguments)
        return type(graph)(graph.tensors, graph.calls[:LAYERS], graph.constants, graph.inputs, graph.outputs), notes

    monkeypatch.setattr(calibrate, "lowered", fewer)
    monkeypatch.setattr(probe, "PROBE_NS", 1e4)
    monkeypatch.setattr(probe, "MEMORY_BYTES", 1 << 16)
    monkeypatch.setattr(probe, "RUNS", 2)
    result = CliRunner().invoke(app, ["calibrate", "--runtime", attached.runtime, "--num-runs", "1", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    device = load_device(document["device"])
    stored = read_measured(device.name)
    assert stored is not None and len(stored.clusters) == len(document["clusters"])
    measured = {c["index"]: c for c in document["clusters"]}
    assert len(measured) + len(document["skipped"]) == len(device.cluster)
    assert {0, len(device.cluster) - 1} <= set(measured)
    for index, cluster in enumerate(device.cluster):
        assert cluster.gflops == (measured[index]["limits"]["gflops"] if index in measured else None)
    # this machine has no CPU 8, the phone's largest: `big` stands in for it
    assert measured[0]["cores"] == ("big" if len(device.cluster) > 1 else "")
    assert set(tuned(device.target).factors) == {k["kernel"] for k in document["kernels"] if k["known"]}
    assert tuned(device.target).factors
    assert attached.root.files() == before


def test_profile_corrects_the_device_that_it_ran_on(
    attached: Attached, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("edgesparse.corrections"), "CALM", 100.0)  # an emulator is never calm
    name = json.loads(
        CliRunner().invoke(app, ["devices", "--attached", "--runtime", attached.runtime, "--json"]).stdout
    )
    assert name[0]["facts"]["model"]
    for compiled_for, stored in (("rpi3", False), (attached_name(attached), True)):
        bundle = es.compile(es.load(MODEL), compiled_for, tmp_path / f"{compiled_for}.edge")
        command = ["profile", str(bundle), "--runtime", attached.runtime, "--num-runs", "10", "--warmup-runs", "0"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        note = re.search(r"predictions (for|are not).*", result.stderr.replace("\n", " "))
        assert note is not None
        if stored:
            assert f"predictions for {compiled_for} are corrected" in note[0]
        else:
            assert "the bundle was compiled for rpi3, and this is" in note[0]
        assert bool(tuned(load_device(compiled_for).target).factors) == stored
    again = CliRunner().invoke(app, [*command, "--no-remember"])
    assert again.exit_code == 0 and "predictions" not in again.stderr


def attached_name(attached: Attached) -> str:
    from edgesparse.attached import auto_device

    return auto_device(attached.runtime).name
