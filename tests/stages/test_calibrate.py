"""`calibrate` and `corrections`: what is measured, that it reaches all that can be chosen, and what is stored."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgesparse as es
from edgesparse import runtimes
from edgesparse.calibrate import calibrate
from edgesparse.compile import lowered
from edgesparse.corrections import corrections, remember, why_not
from edgesparse.devices import load_device
from edgesparse.devices.measured import read_measured
from edgesparse.kernels import table
from edgesparse.manifest import Manifest, read_manifest
from edgesparse.marks import Marks
from edgesparse.ops.view import PLACED
from edgesparse.probe import Limits, probe, working_sets
from edgesparse.profile import Profile, profile
from edgesparse.reference_model import reference_model
from edgesparse.samples import random_inputs
from edgesparse.select import candidates
from edgesparse.spread import spread
from edgesparse.tuned import tuned
from tests.conftest import PROJECT

MODEL = PROJECT / "examples" / "digits.onnx"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESPARSE_TUNED", str(tmp_path / "tuned"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers in place of the reference model, and probes of microseconds."""
    import onnx_ir as ir

    proto = ir.to_proto(reference_model())
    names = ["pointwise7block:4x1", "softmax"]
    nodes = [node for node in proto.graph.node if node.name in names]
    used = {name for node in nodes for name in (*node.input, *node.output)}
    for values in (proto.graph.input, proto.graph.output, proto.graph.initializer):
        kept = [v for v in values if v.name in used]
        del values[:]
        values.extend(kept)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    onnx.checker.check_model(proto)
    monkeypatch.setattr(
        importlib.import_module("edgesparse.calibrate"), "reference_model", lambda: ir.from_proto(proto)
    )
    monkeypatch.setattr(importlib.import_module("edgesparse.probe"), "PROBE_NS", 1e4)
    monkeypatch.setattr(importlib.import_module("edgesparse.probe"), "MEMORY_BYTES", 1 << 16)


@pytest.mark.parametrize("device", ["host", "rpi5", "browser", "browser-relaxed"])
def test_every_kernel_that_predictions_know_is_measured(device: str) -> None:
    target = load_device(device).target
    graph, _ = lowered(reference_model(), target)
    found = {
        c.kernels[isa].symbol
        for call in graph.calls if call.op not in PLACED
        for c in candidates(call, graph, target)[0] if c.binding.predicted_us
        for isa in c.kernels
    }  # fmt: skip
    chosen_among = {k.symbol for k in table() if k.isa in target.isas and k.dtype == "f32" and k.tiles}
    # kernels of fewer instruction sets than the target has are no candidates
    shared = {
        s for s in chosen_among
        if all(s.replace(s.rpartition("__")[2], isa) in chosen_among for isa in target.isas)
    }  # fmt: skip
    assert shared - found == set()


def test_the_working_sets_fit_their_level() -> None:
    cluster = load_device("pixel-8").cluster[0]
    sets = working_sets(cluster)
    assert (sets["l1"], sets["l2"], sets["l3"]) == (32 << 10, 512 << 10, 2 << 20) and sets["memory"] >= 64 << 20
    assert next(iter(sets)) == "memory"
    assert list(working_sets(cluster.model_copy(update={"l2_kb": None, "l3_kb": None}))) == ["memory", "l1"]


def test_this_machine(small: None) -> None:
    found = calibrate("host", "local", num_runs=2, warmup_runs=0, on="a desk")
    (cluster,) = found.clusters
    assert cluster.limits.gflops > 0.1 and all(gbs > 0.01 for gbs in cluster.limits.read_gbs.values())
    assert cluster.limits.disturbed >= 1
    known = tuned(load_device("host").target)
    assert known.factors == {k.kernel: k.factor for k in found.kernels if k.known} and known.factors
    assert known.others == {k.kernel: k.factor for k in found.kernels if not k.known}
    assert any("softmax" in kernel for kernel in known.others) and any("spmm" in k for k in known.factors)
    assert all(k.lowest * 0.999 <= k.factor <= k.highest * 1.001 for k in found.kernels)
    stored = read_measured("host")
    assert stored is not None and stored.on == "a desk" and stored.clusters[0].gflops == cluster.limits.gflops
    assert all(Path(file).is_file() for file in found.files)


def test_an_interrupted_call_leaves_what_was_there(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    calibrate("host", "local", num_runs=1, warmup_runs=0)
    before, cores = tuned(load_device("host").target), read_measured("host")

    def interrupted(*arguments: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("edgesparse.calibrate"), "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        calibrate("host", "local")
    assert tuned(load_device("host").target) == before and read_measured("host") == cores


@pytest.mark.parametrize(("device", "runtime", "engine"), [
    ("rpi5", "qemu", "qemu-aarch64"), ("browser", "node", "node"),
])  # fmt: skip
def test_probes_run_wherever_bundles_do(
    device: str, runtime: str, engine: str, small: None, require: Callable[[str], None]
) -> None:
    require(engine)
    found: Limits = probe(load_device(device).target, {"memory": 1 << 16, "l1": 1 << 12}, runtime)
    assert found.gflops > 0 and set(found.read_gbs) == {"memory", "l1"} and min(found.read_gbs.values()) > 0


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, Manifest]:
    bundle = es.compile(es.load(MODEL), "host", tmp_path_factory.mktemp("profiled") / "m.edge")
    with runtimes.open(bundle, "local") as session:
        (found,) = profile([session], [random_inputs(session.manifest)], num_runs=3, warmup_runs=1)
    rows = tuple(replace(x, us=spread([us + 3 for us in (x.us.min, x.us.median, x.us.max)])) for x in found.layers)
    rows = (*rows[:-1], replace(rows[-1], us=spread([1.5])))  # too short to be believed
    return replace(found, run_us=(10.0,) * 9 + (10.5,), layers=rows), read_manifest(bundle)


def test_corrections_are_ratios(profiled: tuple[Profile, Manifest]) -> None:
    found, manifest = profiled
    made = corrections(found, manifest)
    timed = [x for x in manifest.layers if x.calls]
    by_kernel: dict[str, list[float]] = {}
    for layer, row in zip(timed, found.layers, strict=True):
        if len(layer.calls) == 1 and row.us.median != 1.5:
            by_kernel.setdefault(layer.kernel, []).append(row.us.median / layer.model_us)
    assert len(made) == len(by_kernel)
    for kernel, ratios in by_kernel.items():
        assert {**made.factors, **made.others}[kernel] == pytest.approx(np.exp(np.mean(np.log(ratios))))
    assert set(made.factors) == {x.kernel for x in timed if x.predicted_us} & set(by_kernel)
    assert timed[-1].kernel not in by_kernel


def test_they_are_remembered_by_kernel(profiled: tuple[Profile, Manifest]) -> None:
    found, manifest = profiled
    assert why_not(found, manifest, "host") == ""
    made, file = remember(found, manifest)
    known = tuned(load_device("host").target)
    assert known.factors == made.factors and known.others == made.others and file.is_file()
    assert why_not(found, manifest, "host") == ""  # factors are no part of what predictions are made from


def test_what_says_nothing_of_the_device_is_not_remembered(profiled: tuple[Profile, Manifest]) -> None:
    found, manifest = profiled
    refused = [
        (replace(found, emulated=True), manifest, "host"),
        (replace(found, machine={"runtime": "node", "threads": "1"}), manifest, "host"),
        (found, manifest, "pixel-8"), (found, manifest, ""),
        (replace(found, machine={**found.machine, "threads": "2"}), manifest, "host"),
        (replace(found, facts={"isa": "sse2"}), manifest, "host"),
        (found, manifest.model_copy(update={"predictions": "older"}), "host"),
        (replace(found, run_us=(1.0, 2.0) * 5), manifest, "host"),
        (replace(found, run_us=(1.0,) * 9), manifest, "host"),
        (replace(found, layers=tuple(replace(x, us=spread([1.5])) for x in found.layers)), manifest, "host"),
        (replace(found, marks=Marks(hot=(1,))), manifest, "host"),
        (found, manifest.model_copy(update={"device": "gone"}), "gone"),
    ]  # fmt: skip
    reasons = [why_not(*each) for each in refused]
    assert all(reasons) and len(set(reasons)) == len(reasons)
