"""What is measured, stored and used; and what `explain` says of it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import edgesparse as es
from edgesparse.compile import lowered
from edgesparse.devices import load_device
from edgesparse.errors import InputError
from edgesparse.explain import explain
from edgesparse.manifest import Layer, read_manifest
from edgesparse.runtimes.session import Session
from edgesparse.select import select
from edgesparse.tune import tune
from edgesparse.tuned import tuned, tuned_path
from edgesparse.types import Known, Selection
from tests.conftest import PROJECT

MODEL = PROJECT / "examples" / "digits.onnx"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESPARSE_TUNED", str(tmp_path / "tuned"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Bundles of blocks of two outputs take 1 us, all others 2; returns which kernels were timed."""
    timed: list[str] = []

    def bench(self: Session, inputs: Any, **options: Any) -> SimpleNamespace:
        (layer,) = self.manifest.layers
        timed.append(layer.kernel)
        return SimpleNamespace(wall_ns=[1000 if "_f32_2" in layer.kernel else 2000] * 3)

    monkeypatch.setattr(Session, "bench", bench)
    return timed


def selection() -> Selection:
    target = load_device("host").target
    graph, _ = lowered(es.load(MODEL), target)
    return select(graph, target, tuned(target))


def test_the_fastest_measured_kernel_is_taken_from_then_on(clock: list[str], tmp_path: Path) -> None:
    assert not any(step.binding.measured for step in selection().steps)
    report = tune(es.load(MODEL))
    assert report.measured == len(clock) > 3 and Path(report.file).is_file()
    with_choice = [s for s in selection().steps if s.call.op == "spmm"]
    assert with_choice and all(s.binding.measured and s.binding.tiles["MR"] == 2 for s in with_choice)
    assert all(s.binding.predicted_us == 1 for s in with_choice)
    manifest = read_manifest(es.compile(es.load(MODEL), out=tmp_path / "m.edge"))
    assert any("chosen by what `edgesparse tune` measured" in note for note in manifest.notes)
    assert all(x.measured for x in manifest.layers if x.op == "spmm")


def test_an_interrupted_call_goes_on_where_it_was(clock: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("edgesparse.tune")  # es.tune is the function
    measure, calls = module.measure, 0

    def interrupted(*arguments: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return float(measure(*arguments))

    monkeypatch.setattr(module, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(es.load(MODEL))
    first = len(clock)
    assert first == 2 and len(tuned(load_device("host").target).us) == 2
    again = tune(es.load(MODEL))
    assert again.measured == len(clock) - first
    assert tune(es.load(MODEL)).measured == 0
    assert tune(es.load(MODEL), force=True).measured == again.measured + first


def test_what_other_kernels_took_is_not_believed(clock: list[str]) -> None:
    tune(es.load(MODEL))
    target = load_device("host").target
    path = tuned_path(target)
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "kernels": "of an earlier version"}))
    assert tuned(target) == Known()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"device": "host"}'])
def test_a_damaged_file_is_named(text: str) -> None:
    target = load_device("host").target
    tuned_path(target).parent.mkdir()
    tuned_path(target).write_text(text)
    with pytest.raises(InputError, match="cannot be read") as caught:
        tuned(target)
    assert str(tuned_path(target)) in str(caught.value) and "tune, calibrate and profile" in str(caught.value)


def test_kernels_are_measured_for_real() -> None:
    report = tune(es.load(MODEL), num_runs=2, warmup_runs=0)
    assert all(0 < us < 1e6 for layer in report.layers for us in layer.us.values())
    assert all(layer.gain >= 1 and layer.predicted in layer.us for layer in report.layers)


def layer(pattern: str, zeros: float, us: float, op: str = "spmm", skipping_us: float = 100.0) -> Layer:
    return Layer(
        name="x", op=op, kernel="k", pattern=pattern, zeros=zeros, predicted_us=us, dense_us=100.0,
        skipping_us=skipping_us,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        (layer("dense", 0.0, 100.0), "block:4x1 at 0.5 would take 50 us at best"),
        (layer("unstructured", 0.9, 40.0), "the same zeros as block:4x1 would take 10 us at best"),
        (layer("block:2x1", 0.5, 60.0), "the same zeros as block:4x1 would take 50 us at best"),
        (layer("block:4x1", 0.5, 60.0), ""),
        (layer("block:16x1", 0.5, 60.0), ""),
        (layer("unstructured", 0.2, 82.0), ""),  # not worth it
        (layer("dense", 0.0, 100.0, op="depthwise"), ""),
        # Winograd is the best dense kernel: zeros shorten the time of another one
        (layer("dense", 0.0, 100.0, skipping_us=180.0), "block:4x1 at 0.5 would take 90 us at best"),
        (layer("dense", 0.0, 100.0, skipping_us=250.0), ""),
        (layer("unstructured", 0.9, 40.0, skipping_us=250.0), "the same zeros as block:4x1 would take 25 us at best"),
        (layer("unstructured", 0.02, 100.0), "block:4x1 at 0.5 would take 50 us at best"),  # as training left it
        (layer("", 0.0, 0.0, op="reduce"), ""),
    ],
)
def test_advice(given: Layer, advice: str) -> None:
    (verdict,) = explain([given])
    assert verdict.advice == advice
    assert verdict.speedup == pytest.approx(100 / given.predicted_us if given.predicted_us else 1.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (layer("", 0.0, 0.0, op="reduce"), "no weights"),
        (layer("dense", 0.0, 100.0, op="depthwise"), "dense: zeros are not skipped"),
        (layer("dense", 0.0, 100.0), "dense: no zeros"),
        (layer("unstructured", 0.02, 100.0), "dense: hardly a zero"),
        (layer("unstructured", 0.5, 100.0), "as fast as dense: its zeros do not pay"),
        (layer("block:4x1", 0.5, 50.0), "sparse: 2.00 times as fast as dense"),
    ],
)
def test_verdicts_in_words(given: Layer, words: str) -> None:
    (verdict,) = explain([given])
    assert verdict.verdict == words
