"""`predict`: figures beside those worked out by hand; and what measured factors do to selection."""

from __future__ import annotations

import json
import subprocess
import sys
from math import prod, sqrt
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

import edgesparse as es
from edgesparse.bundle import layers
from edgesparse.cli import app
from edgesparse.compile import lowered
from edgesparse.devices import load_device
from edgesparse.devices.measured import Measured, MeasuredCluster, measured_path, read_measured, write_measured
from edgesparse.errors import InputError
from edgesparse.ops.cost import overlapped_us
from edgesparse.ops.view import PLACED
from edgesparse.predict import predict
from edgesparse.select import candidates, select
from edgesparse.tuned import remember, remember_factors, tuned, tuned_path
from edgesparse.types import Known
from tests import tiny_models
from tests.conftest import PROJECT

MODEL = PROJECT / "examples" / "digits.onnx"
DEVICE = "rpi4"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESPARSE_TUNED", str(tmp_path / "tuned"))


def test_a_layer_by_hand() -> None:
    found = predict(es.load(MODEL), DEVICE)
    device = load_device(DEVICE)
    core, memory = device.cluster[0], device.memory
    assert core.max_ghz and memory.bandwidth_gbs
    least = 0.0
    for layer in found.layers:
        arithmetic = layer.macs / (core.fma_width * core.max_ghz * 1e3)
        traffic = layer.bytes / (memory.bandwidth_gbs / 2 * 1e3)
        assert layer.roofline_us == pytest.approx(max(arithmetic, traffic))
        assert layer.bound == ("arithmetic" if arithmetic > traffic else "memory")
        least += arithmetic
    assert found.us == pytest.approx(sum(x.us for x in found.layers)) and found.us > least
    assert not found.measured and found.dense_us == pytest.approx(found.us)
    assert {x.basis for x in found.layers} == {"cost model"}
    conv = onnx.shape_inference.infer_shapes(onnx.load(MODEL)).graph
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in conv.value_info}
    weights = {w.name: list(w.dims) for w in conv.initializer}
    layer = next(x for x in found.layers if x.op == "spmm" and x.pattern == "dense")
    node = next(n for n in conv.node if n.name == layer.name)
    x, w, y = shapes[node.input[0]], weights[node.input[1]], shapes[node.output[0]]
    assert layer.macs == prod(w) * prod(y[2:])
    values = prod(x) + prod(y) + prod(w) + w[0]
    assert 4 * values <= layer.bytes <= 4.4 * values  # and indices


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """With a pooling and a softmax, which the cost model does not know."""
    onnx.save(tiny_models.classifier(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_layers_without_a_prediction_take_their_traffic(classifier: Path) -> None:
    target = load_device(DEVICE).target
    graph, _ = lowered(es.load(classifier), target)
    calls = {(call.layer, call.op): call for call in graph.calls if call.op not in PLACED}
    found = {x.op: x for x in predict(es.load(classifier), DEVICE).layers if x.basis == "traffic"}
    assert {"pool_max", "softmax"} <= set(found)
    for layer in found.values():
        call = calls[layer.name, layer.op]
        specs = [graph.tensors[name] for name in (*call.inputs, *call.outputs)]
        cycles = max(spec.size for spec in specs) / 4
        assert layer.us == pytest.approx(overlapped_us(target.machine, cycles, sum(s.bytes for s in specs)), abs=1e-3)


def test_factors_choose_the_kernel() -> None:
    target = load_device(DEVICE).target
    graph, _ = lowered(es.load(MODEL), target)
    call = next(c for c in graph.calls if c.op == "spmm")
    found = candidates(call, graph, target)[0]
    first, second, third = (c.kernels["neon"].symbol for c in found[:3])
    us = [c.binding.predicted_us for c in found[:3]]
    slow = 2 * us[1] / us[0]
    step = next(s for s in select(graph, target, Known({}, {first: slow, second: 1.5})).steps if s.call is call)
    assert step.kernels["neon"].symbol in (second, third) and not step.binding.measured
    # one that was not measured is off by as much as the others usually are
    expected = sorted([(us[0] * slow, first), (us[1] * 1.5, second), (us[2] * sqrt(slow * 1.5), third)])
    assert (step.binding.predicted_us, step.kernels["neon"].symbol) == pytest.approx(expected[0])
    chosen = {first: us[0], second: us[1], third: us[2]}[step.kernels["neon"].symbol]
    assert step.binding.model_us == chosen and step.binding.uncorrected_us == chosen


def test_measured_factors_are_used_and_said(classifier: Path) -> None:
    target = load_device(DEVICE).target
    before = predict(es.load(classifier), DEVICE)
    spmm = {x.kernel for x in before.layers if x.basis == "cost model"}
    other = {x.kernel for x in before.layers if x.basis == "traffic"}
    remember_factors(target, dict.fromkeys(spmm, 2.0), dict.fromkeys(other, 3.0))
    after = predict(es.load(classifier), DEVICE)
    assert {x.basis for x in after.layers} == {"corrected"}
    for one, two in zip(before.layers, after.layers, strict=True):
        assert two.us == pytest.approx(one.us * (2 if one.basis == "cost model" else 3), abs=0.01)


def test_compile_goes_by_factors(tmp_path: Path) -> None:
    target = load_device(DEVICE).target
    graph, _ = lowered(es.load(MODEL), target)
    kernels = {x.kernel for x in layers(select(graph, target), target) if x.op == "spmm"}
    remember_factors(target, dict.fromkeys(kernels, 50.0) | {"es_spmm_f32_1x4__neon": 1.0}, {})
    from edgesparse.manifest import read_manifest

    manifest = read_manifest(es.compile(es.load(MODEL), DEVICE, tmp_path / "m.edge"))
    assert not kernels & {x.kernel for x in manifest.layers}
    assert any("corrected by what was measured" in note for note in manifest.notes)


def test_what_is_stored_is_kept_apart() -> None:
    target = load_device(DEVICE).target
    remember(target, {"a": 1.0})
    remember_factors(target, {"k": 2.0}, {"o": 3.0})
    remember_factors(target, {"l": 4.0}, {})
    assert tuned(target) == Known({"a": 1.0}, {"k": 2.0, "l": 4.0}, {"o": 3.0})
    remember(target, {"b": 2.0})
    assert tuned(target) == Known({"a": 1.0, "b": 2.0}, {"k": 2.0, "l": 4.0}, {"o": 3.0})
    stored = json.loads(tuned_path(target).read_text())
    tuned_path(target).write_text(json.dumps({**stored, "predictions": "of another cost model"}))
    assert tuned(target) == Known({"a": 1.0, "b": 2.0})  # times stay true


def test_processes_that_store_at_once_lose_nothing() -> None:
    """Each stores ten factors of its own, one after the other."""
    code = (
        "import sys\n"
        "from edgesparse.devices import load_device\n"
        "from edgesparse.tuned import remember_factors\n"
        f"target = load_device({DEVICE!r}).target\n"
        "for i in range(10):\n"
        "    remember_factors(target, {f'{sys.argv[1]}{i}': 1.0 + i}, {})\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "abc"]
    assert [p.wait(timeout=120) for p in processes] == [0] * 3
    expected = {f"{name}{i}": 1.0 + i for name in "abc" for i in range(10)}
    assert tuned(load_device(DEVICE).target).factors == expected
    assert [p.name for p in tuned_path(load_device(DEVICE).target).parent.iterdir()] == [f"{DEVICE}.json"]


def measured(name: str = DEVICE) -> Measured:
    cluster = MeasuredCluster(index=0, core="Cortex-A72", gflops=20.0, read_gbs={"l1": 30.0, "memory": 4.0})
    return Measured(device=name, on="a board", date="2026-01-02", clusters=(cluster,))


def test_what_was_measured_replaces_what_is_published() -> None:
    published = load_device(DEVICE)
    write_measured(measured())
    device = load_device(DEVICE)
    assert device.cluster[0].peak_gflops == 20 and device.memory.core_gbs == 4
    assert device.target.machine.ghz == pytest.approx(20 / 16) and device.target.machine.read_gbs == 4
    assert "measured on a board, 2026-01-02" in device.cluster[0].source and "measured" in device.memory.source
    assert published.cluster[0].peak_gflops == pytest.approx(14.4) and published.memory.core_gbs == 6.4
    found = predict(es.load(MODEL), DEVICE)
    assert found.measured and (found.gflops, found.read_gbs) == (20, 4)


def test_a_damaged_file_is_named() -> None:
    measured_path(DEVICE).parent.mkdir()
    for text in ("", "[]", '{"device": "rpi4"}'):
        measured_path(DEVICE).write_text(text)
        with pytest.raises(InputError, match="calibrate again"):
            read_measured(DEVICE)
    result = CliRunner().invoke(app, ["predict", str(MODEL), "--device", DEVICE])
    assert result.exit_code == 2 or isinstance(result.exception, InputError)


def test_files_are_called_after_the_device(tmp_path: Path) -> None:
    text = (PROJECT / "devices" / "rpi4.toml").read_text()
    (tmp_path / "x.toml").write_text(f'name = "../../outside"\n{text}')
    with pytest.raises(InputError, match="name"):
        load_device(str(tmp_path / "x.toml"))


def test_the_command() -> None:
    result = CliRunner().invoke(app, ["predict", str(MODEL), "--device", DEVICE])
    assert result.exit_code == 0 and "estimated" in result.stdout and "measured" not in result.stdout
    result = CliRunner().invoke(app, ["predict", str(MODEL), "--device", DEVICE, "--json"])
    document = json.loads(result.stdout)
    assert document["estimated"] is True and document["us"] == predict(es.load(MODEL), DEVICE).us
    assert len(document["layers"]) == len(predict(es.load(MODEL), DEVICE).layers)
