"""Real models profiled on this machine, in node and in browsers: outputs of onnxruntime, every layer timed, and the
files that `edgesparse profile` writes are right. How long anything takes is not looked at: see bench/profiles.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import edgesparse as es
from edgesparse.manifest import read_manifest
from edgesparse.samples import random_inputs
from tests.stages.test_profile_files import check_trace
from tests.stages.test_profile_schema import check

from .refusals import Call

MODELS: dict[str, Any] = {
    "kws/kws_ref_model.onnx": {"input_1": (1, 49, 10, 1)},
    "ultraface/version-RFB-320.onnx": None,
}
DEVICES = {"local": "host", "node": "browser", "chromium": "browser", "firefox": "browser"}
Bundle = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Bundle:
    """``bundle(model, device)``, compiled once."""
    made: dict[tuple[str, str], Path] = {}

    def compile_once(name: str, device: str) -> Path:
        if (name, device) not in made:
            out = tmp_path_factory.mktemp(device) / "m.edge"
            made[name, device] = es.compile(es.load(data_dir / name, shapes=MODELS[name]), device, out)
        return made[name, device]

    return compile_once


@pytest.fixture(params=sorted(DEVICES))
def runtime(request: pytest.FixtureRequest, require: Callable[[str], None]) -> str:
    if request.param != "local":
        require(request.param)
    return str(request.param)


def save_inputs(bundle: Path, to: Path) -> dict[str, Any]:
    inputs: dict[str, Any] = random_inputs(read_manifest(bundle))
    np.savez(to, **inputs)
    return inputs


@pytest.mark.parametrize("name", MODELS)
def test_profiled(name: str, runtime: str, bundle: Bundle, data_dir: Path, call: Call, tmp_path: Path) -> None:
    path = bundle(name, DEVICES[runtime])
    inputs = save_inputs(path, tmp_path / "x.npz")
    on = ("--runtime", runtime, "--input", "x.npz")
    files = ("--save", "s.json", "--trace", "t.json", "--html", "h.html", "--csv", "l.csv")
    assert call("run", str(path), *on, "--output", "y.npz") == (0, "")
    code, err = call("profile", str(path), *on, "--num-runs", "3", "--warmup-runs", "1", *files)
    assert code == 0, err
    reference = onnxruntime.InferenceSession(data_dir / name, providers=["CPUExecutionProvider"])
    with np.load(tmp_path / "y.npz") as outputs:
        for port, expected in zip(reference.get_outputs(), reference.run(None, inputs), strict=True):
            assert np.allclose(outputs[port.name], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    document = json.loads((tmp_path / "s.json").read_text())
    check(document)
    check_trace(json.loads((tmp_path / "t.json").read_text()))
    (found,) = document
    layers = [x.name for x in read_manifest(path).layers if x.calls]
    assert [x["name"] for x in found["layers"]] == layers
    assert len((tmp_path / "l.csv").read_text().splitlines()) == 1 + len(layers)
    assert len(found["run_us"]) == found["layers_us"]["count"] == 3 and min(found["run_us"]) > 0
    assert found["machine"]["runtime"] == runtime and not found["emulated"]
    assert found["layers_us"]["min"] > 0 and all(x["us"]["min"] >= 0 for x in found["layers"])
    assert ("clock_step_ns" in found["facts"]) == (runtime in ("chromium", "firefox"))


def test_the_other_commands(runtime: str, bundle: Bundle, data_dir: Path, call: Call, tmp_path: Path) -> None:
    """bench, compare, and two bundles in turns."""
    name = "kws/kws_ref_model.onnx"
    path = str(bundle(name, DEVICES[runtime]))
    save_inputs(Path(path), tmp_path / "x.npz")
    on = ("--runtime", runtime)
    code, err = call("bench", path, *on, "--num-runs", "3", "--input", "x.npz")
    assert code == 0, err
    code, err = call("compare", str(data_dir / name), path, *on, "--input", "x.npz")
    assert code == 0, err
    code, err = call("profile", path, path, *on, "--num-runs", "4", "--trace", "t.json")
    assert code == 0, err
    trace = json.loads((tmp_path / "t.json").read_text())
    assert len({event["pid"] for event in trace["traceEvents"]}) == 2


@pytest.mark.parametrize("name", ["chromium", "firefox"])
def test_a_browser_that_is_missing_ends_with_4(
    name: str, bundle: Bundle, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name.upper(), "/none")
    code, err = call("profile", str(bundle("kws/kws_ref_model.onnx", "browser")), "--runtime", name)
    assert code == 4 and f"${name.upper()} is /none" in err and "hint: apt-get install" in err
