"""precision f16: what is stored in halves, where conversions stand, and that every arm64 CPU answers right."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import edgesparse as es
from edgesparse import build
from edgesparse.compare import TOLERANCE
from edgesparse.compile import lowered
from edgesparse.devices import load_device
from edgesparse.manifest import read_manifest
from edgesparse.select import select
from edgesparse.tuned import tuned
from edgesparse.types import Array, LoweredGraph
from tests import tiny_models
from tests.conftest import require
from tests.stages.test_join import NETWORKS, network
from tests.tiny_models import f32, model, numbers

CPUS = {"max": "neon_fp16", "cortex-a76": "neon_fp16", "cortex-a53": "neon"}
"""What qemu emulates, and the instruction set that a bundle must choose there."""


def conv(x: str, y: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, f"w{y}"], [y], y)


def between(*nodes: onnx.NodeProto, outputs: Sequence[str] = ("y",), **weights: Array) -> onnx.ModelProto:
    """``nodes`` from x (1, 4, 6, 6) to ``outputs``; 1x1 convolutions of 4 channels get weights."""
    made = {node.input[1]: numbers(4, 4, 1, 1, seed=i) for i, node in enumerate(nodes) if node.op_type == "Conv"}
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    return model(nodes, [f32("x", 1, 4, 6, 6)], ports, {**made, **weights})


PADS = np.array([0, 0, 1, 1, 0, 0, 0, 0])
GRAPHS = {
    "classifier, softmax stays f32": (tiny_models.classifier(), 2),
    "nothing heavy": (between(helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Neg", ["r"], ["y"])), 0),
    "light calls follow": (
        between(helper.make_node("Relu", ["x"], ["r"]), conv("r", "c"), helper.make_node("Exp", ["c"], ["e"]),
                helper.make_node("Relu", ["e"], ["y"])), 2,
    ),
    "an output that is read": (
        between(conv("x", "a"), conv("a", "b"), helper.make_node("Exp", ["a"], ["e"]), outputs=("a", "b", "e")), 3,
    ),
    "an output that is a view": (
        between(conv("x", "a"), helper.make_node("Flatten", ["a"], ["y"]), conv("a", "z"), outputs=("y", "z")), 3,
    ),
    "a view of the input": (
        between(helper.make_node("Reshape", ["x", "s"], ["v"]), conv("v", "y"), s=np.array([1, 4, 36, 1])), 2,
    ),
    "fill and copy": (
        between(conv("x", "a"), helper.make_node("Pad", ["a", "p", "v"], ["b"]), conv("b", "y"), p=PADS,
                v=np.array(0.5, np.float32)), 2,
    ),
    "constants": (
        between(conv("x", "a"), helper.make_node("Mul", ["a", "k"], ["b"]), conv("b", "y"),
                k=numbers(1, 4, 6, 6)), 2,
    ),
    "one conversion for two readers": (
        between(helper.make_node("Exp", ["x"], ["e"]), conv("e", "a"), conv("e", "b"),
                helper.make_node("Sum", ["a", "b"], ["y"])), 2,
    ),
}  # fmt: skip
"""Models, and how many conversions they need."""


def graph_of(path: Path) -> LoweredGraph:
    return lowered(es.load(path, shapes=shapes(path)), load_device("rpi5").target_in("f16"))[0]


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    return {
        i.name: tuple(d.dim_value or 1 for d in i.type.tensor_type.shape.dim) for i in onnx.load(path).graph.input
    }  # fmt: skip


def check(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle answers as onnxruntime does, on every CPU."""
    require("qemu-aarch64")
    x = {name: numbers(*shape, seed=1) for name, shape in shapes(path).items()}
    peer = onnxruntime.InferenceSession(str(path))
    expected = dict(zip([o.name for o in peer.get_outputs()], peer.run(None, x), strict=True))
    bundle = es.compile(es.load(path, shapes=shapes(path)), device="rpi5", out=folder / "m.edge", precision="f16")
    assert {p.dtype for p in (*read_manifest(bundle).inputs, *read_manifest(bundle).outputs)} == {"f32"}
    for cpu, isa in CPUS.items():
        monkeypatch.setenv("QEMU_CPU", cpu)
        with es.open(bundle, runtime="qemu") as session:
            given = session.run(x)
            assert session.machine["isa"] == isa
        for name, y in expected.items():
            allowed = TOLERANCE["f16"] / 4 * float(np.nanmax(np.abs(y)))
            np.testing.assert_allclose(
                given[name].reshape(y.shape), y, rtol=0, atol=allowed, err_msg=f"{name} on {cpu}"
            )


@pytest.mark.parametrize("name", GRAPHS)
def test_conversions_stand_where_they_must(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto, count = GRAPHS[name]
    onnx.save(proto, tmp_path / "m.onnx")
    assert [call.op for call in graph_of(tmp_path / "m.onnx").calls].count("convert") == count
    check(tmp_path / "m.onnx", tmp_path, monkeypatch)


@pytest.mark.parametrize("name", NETWORKS)
def test_concatenations(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of one memory are of one type."""
    network(tmp_path / "m.onnx", NETWORKS[name][0], 7)
    check(tmp_path / "m.onnx", tmp_path, monkeypatch)


def test_everything_between_the_ends_is_in_halves(tmp_path: Path) -> None:
    onnx.save(tiny_models.classifier(), tmp_path / "m.onnx")
    target = load_device("rpi5").target_in("f16")
    steps = select(graph_of(tmp_path / "m.onnx"), target).steps
    assert [s.kernels["neon_fp16"].stem for s in steps] == [
        "convert_f32", "planes_f16", "spmm_f16", "pool_max_f16", "spmv_f16", "convert_f16", "softmax_f32",
    ]  # fmt: skip
    packed = [array for s in steps for array in s.binding.constants.values() if array.dtype.kind == "f"]
    assert {a.dtype.name for a in packed} == {"float16", "float32"}


def test_weights_that_no_half_can_hold_stay_f32(tmp_path: Path) -> None:
    proto = between(conv("x", "a"), conv("a", "y"))
    large = numbers(4, 4, 1, 1)
    large[0, 0] = 70000
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(large, "wa"))
    onnx.save(proto, tmp_path / "m.onnx")
    graph, notes = lowered(es.load(tmp_path / "m.onnx"), load_device("rpi5").target_in("f16"))
    assert [(c.op, graph.tensors[c.outputs[0]].dtype) for c in graph.calls] == [
        ("spmm", "f32"), ("convert", "f16"), ("spmm", "f16"), ("convert", "f32"),
    ]  # fmt: skip
    assert any("65504" in note and "a" in note for note in notes)


def test_names_that_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(between(conv("x", "x.f16"), conv("x.f16", "y")), tmp_path / "m.onnx")
    check(tmp_path / "m.onnx", tmp_path, monkeypatch)


def test_without_halves_nothing_changes(tmp_path: Path) -> None:
    """One instruction set, no question to the kernel, no f16 in the manifest."""
    onnx.save(tiny_models.classifier(), tmp_path / "m.onnx")
    bundle = es.compile(es.load(tmp_path / "m.onnx"), device="rpi5", out=tmp_path / "m.edge")
    manifest = read_manifest(bundle)
    assert (manifest.precision, manifest.isas) == ("f32", ("neon",))
    assert not any("f16" in layer.kernel for layer in manifest.layers)
    assert "ES_ASK_HWCAP" not in (bundle / "dispatch.c").read_text()
    assert b"/proc/self/auxv" not in (bundle / "model").read_bytes() + (bundle / "libmodel.a").read_bytes()


MAIN = """
#include <stdio.h>
#include "model.h"
int main(void) { return puts(model_isa()) < 0 || model_use_isa("neon") != 0; }
"""


def test_a_program_with_a_libc_chooses_too(tmp_path: Path) -> None:
    """Linked statically, the libc's getauxval is not there: /proc/self/auxv is asked."""
    require("qemu-aarch64")
    onnx.save(tiny_models.linear(), tmp_path / "m.onnx")
    bundle = es.compile(es.load(tmp_path / "m.onnx"), device="rpi5", out=tmp_path / "m.edge", precision="f16")
    (tmp_path / "main.c").write_text(MAIN)
    flags: list[str | Path] = [
        "-target",
        "aarch64-linux-musl",
        f"-I{bundle}",
        "main.c",
        bundle / "libmodel.a",
        "-o",
        "main",
    ]
    build.zig("cc", flags, tmp_path)
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64") or ""
    for cpu, isa in CPUS.items():
        command = [*([emulator, "-cpu", cpu] if platform.machine() != "aarch64" else []), str(tmp_path / "main")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == isa or platform.machine() == "aarch64"


def test_tuning_is_stored_by_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("qemu-aarch64")
    monkeypatch.setenv("EDGESPARSE_TUNED", str(tmp_path / "tuned"))
    onnx.save(tiny_models.linear(), tmp_path / "m.onnx")
    report = es.tune(es.load(tmp_path / "m.onnx"), "rpi5", "qemu", precision="f16", num_runs=1)
    assert Path(report.file).name == "rpi5-f16.json" and all("f16" in k for x in report.layers for k in x.us)
    for precision, count in (("f16", 1), ("f32", 0)):
        target = load_device("rpi5").target_in(precision)
        steps = select(lowered(es.load(tmp_path / "m.onnx"), target)[0], target, tuned(target)).steps
        assert sum(step.binding.measured for step in steps) == count


@pytest.mark.parametrize("device", ["browser", "browser-relaxed"])
def test_other_architectures_refuse(device: str, tmp_path: Path) -> None:
    onnx.save(tiny_models.classifier(), tmp_path / "m.onnx")
    with pytest.raises(es.InputError, match=r"precision f16 is for arm64 devices; .* is wasm32"):
        es.compile(es.load(tmp_path / "m.onnx"), device=device, out=tmp_path / "m.edge", precision="f16")
    with pytest.raises(es.InputError, match="no precision 'f8'"):
        load_device(device).target_in("f8")
    assert not (tmp_path / "m.edge").exists()


def test_half_of_the_time_is_predicted(tmp_path: Path) -> None:
    """Of the core's work: where memory is the limit, of the traffic."""
    w = {"w": numbers(64, 64, 1, 1)}
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    onnx.save(model([node], [f32("x", 1, 64, 28, 28)], [f32("y", 1, 64, 28, 28)], w), tmp_path / "m.onnx")
    us = {}
    for precision in ("f32", "f16"):
        target = load_device("rpi5").target_in(precision)
        graph, _ = lowered(es.load(tmp_path / "m.onnx"), target)
        us[precision] = sum(step.binding.predicted_us for step in select(graph, target).steps)
    assert us["f16"] == pytest.approx(us["f32"] / 2, rel=0.1)
