"""The four builds of a bundle for browsers: each computes what onnxruntime does, all from the same weights."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgesparse as es
from edgesparse.importer import save
from edgesparse.manifest import Manifest, read_manifest
from edgesparse.runtimes import node as node_runtime
from edgesparse.runtimes import wasmtime as wasmtime_runtime
from edgesparse.sparsify import sparsify
from edgesparse.types import Array
from tests.conftest import PROJECT

DIGITS = PROJECT / "examples" / "digits.onnx"
MOST_CODE_BYTES = 150_000
BUILDS = [(isa, threads) for isa in ("relaxed", "simd128") for threads in (False, True)]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of its weights are zeros, so that both kinds of kernels run."""
    folder = tmp_path_factory.mktemp("builds")
    model = es.load(DIGITS)
    sparsify(model, "block:4x1", 0.5)
    save(model, folder / "half.onnx")
    return es.compile(model, "browser", folder / "half.edge")


def expected(bundle: Path) -> tuple[Array, Array]:
    images = np.load(PROJECT / "examples" / "digits_test.npz", allow_pickle=False)
    x = images["image"][:1].astype(np.float32)
    session = onnxruntime.InferenceSession(str(bundle.with_suffix(".onnx")))
    (port,) = session.get_inputs()
    return x, session.run(None, {port.name: x})[0]


def test_the_manifest_lists_them(digits: Path) -> None:
    manifest = read_manifest(digits)
    assert manifest.isas == ("relaxed", "simd128") and [(m.isa, m.threads) for m in manifest.modules] == BUILDS
    for module in manifest.modules:
        assert module.file == f"model-{module.isa}{'-threads' if module.threads else ''}.wasm"
        assert module.bytes == (digits / module.file).stat().st_size <= manifest.code_bytes
    assert (digits / "weights.packed").exists() and not (digits / "weights.bin").exists()


@pytest.mark.parametrize(("isa", "threads"), BUILDS)
def test_each_computes_what_onnxruntime_does(
    digits: Path, tmp_path: Path, require: Callable[[str], None], isa: str, threads: bool
) -> None:
    require("node")
    x, y = expected(digits)
    path, version, _ = node_runtime._node(digits, relaxed=False)
    flags = node_runtime._relaxed_flags(version)
    script = tmp_path / "main.mjs"
    script.write_text(f"""
import {{ loadHere }} from {json.dumps((digits / "model.mjs").as_uri())};
const options = {{ threads: {2 if threads else 1}, relaxed: {json.dumps(isa == "relaxed")}, strict: true }};
const model = await loadHere({json.dumps(str(digits))}, options);
const outputs = model.run({{ [model.inputs[0].name]: Float32Array.of({", ".join(map(str, x.ravel().tolist()))}) }});
console.log(JSON.stringify([model.isa, model.threads, Array.from(Object.values(outputs)[0])]));
await model.close();
""")
    done = subprocess.run([path, *flags, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ran, count, got = json.loads(done.stdout)
    assert (ran, count) == (isa, 2 if threads else 1)
    np.testing.assert_allclose(got, y.ravel(), rtol=1e-4, atol=1e-5 * float(np.abs(y).max()))


@pytest.mark.parametrize("isa", ["relaxed", "simd128"])
def test_wasmtime_runs_either(digits: Path, tmp_path: Path, require: Callable[[str], None], isa: str) -> None:
    require("wasmtime")
    x, y = expected(digits)
    manifest = read_manifest(digits)
    kept = tuple(m for m in manifest.modules if m.isa == isa)
    with wasmtime_runtime.open(digits, manifest.model_copy(update={"modules": kept})) as session:
        assert session.machine["isa"] == isa
        (port,) = manifest.inputs
        (got,) = session.run({port.name: x}).values()
    np.testing.assert_allclose(got, y, rtol=1e-4, atol=1e-5 * float(np.abs(y).max()))


@pytest.mark.parametrize(("version", "isa", "said"), [
    ("v18.20.0", "simd128", "off: node 18.20.0 does not have it"), ("v22.1.0", "relaxed", "on"),
])  # fmt: skip
def test_an_old_node_is_said_to_run_without_relaxed_simd(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, isa: str, said: str
) -> None:
    program = tmp_path / "node"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    monkeypatch.setenv("NODE", str(program))
    session = node_runtime.open(digits, read_manifest(digits))
    assert session.machine["relaxed_simd"] == said


def module_bytes(manifest: Manifest) -> int:
    return max(m.bytes for m in manifest.modules)


@pytest.mark.parametrize("name", ["vww/vww_96.onnx", "ultraface/version-RFB-320.onnx"])
@pytest.mark.parametrize("zeros", [0, 0.9])
def test_their_code_is_small(name: str, zeros: float, data_dir: Path, tmp_path: Path) -> None:
    """vww is a MobileNetV1."""
    model = es.load(data_dir / name)
    if zeros:
        sparsify(model, "block:4x1", zeros)
    manifest = read_manifest(es.compile(model, "browser", tmp_path / "m.edge"))
    assert len(manifest.modules) == 4 and 1_000 < module_bytes(manifest) == manifest.code_bytes < MOST_CODE_BYTES


def test_a_bundle_of_relaxed_simd_alone_has_two(tmp_path: Path) -> None:
    manifest = read_manifest(es.compile(es.load(DIGITS), "browser-relaxed", tmp_path / "m.edge"))
    assert [(m.isa, m.threads) for m in manifest.modules] == BUILDS[:2]
