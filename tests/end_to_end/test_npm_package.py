"""A bundle for browsers is a package: `npm pack` takes all that is needed and nothing else, and it runs from there."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgesparse as es
from edgesparse.npm_package import package_json, package_name
from edgesparse.runtimes.node import LOADER
from tests.conftest import PROJECT
from tests.web import npm, run_packaged

DIGITS = PROJECT / "examples" / "digits.onnx"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("npm") / "My digits (v2).edge"
    return es.compile(es.load(DIGITS), "browser", out)


def test_npm_packs_what_a_page_needs_and_node_runs_it(bundle: Path, tmp_path: Path) -> None:
    done = npm("pack", "--json", "--offline", "--pack-destination", tmp_path, folder=bundle)
    tarball = tmp_path / json.loads(done.stdout)[0]["filename"]
    with tarfile.open(tarball) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    modules = {f"model-{isa}{more}.wasm" for isa in ("relaxed", "simd128") for more in ("", "-threads")}
    assert names == {
        *LOADER, *modules, "index.mjs", "model.d.ts", "manifest.json", "package.json", "weights.packed"
    }  # fmt: skip

    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").write_text('{"private": true, "type": "module"}')
    assert npm("install", "--offline", tarball, folder=project).returncode == 0
    x = np.linspace(0, 16, 64, dtype=np.float32)
    (project / "main.mjs").write_text(f"""
import {{ load }} from "my-digits-v2";
const model = await load({{ threads: 1 }});
const [input] = model.inputs;
const outputs = await model.run({{ [input.name]: Float32Array.of({", ".join(map(str, x.tolist()))}) }});
console.log(JSON.stringify(Array.from(Object.values(outputs)[0])));
await model.close();
""")
    ran = run_packaged("node", "main.mjs", folder=project)
    assert ran.returncode == 0, ran.stderr
    session = onnxruntime.InferenceSession(str(DIGITS))
    (port,) = session.get_inputs()
    expected = session.run(None, {port.name: x.reshape(1, 1, 8, 8)})[0].ravel()
    np.testing.assert_allclose(json.loads(ran.stdout), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("kws", "kws"), ("My model (v2)", "my-model-v2"), ("../_x", "x"), ("ÄÖ", "model"), ("", "model"),
        ("node_modules", "node_modules-model"), ("x" * 300, "x" * 214), ("a.b_c-d", "a.b_c-d"),
    ],
)  # fmt: skip
def test_names(name: str, valid: str) -> None:
    assert package_name(name) == valid


def test_another_content_is_another_version() -> None:
    def version(content: dict[str, bytes]) -> str:
        return str(json.loads(package_json("m", "1", content))["version"])

    first = version({"a.mjs": b"1", "b.wasm": b"2"})
    assert first == version({"b.wasm": b"2", "a.mjs": b"1"})
    assert len({first, version({"a.mjs": b"1", "b.wasm": b"3"}), version({"a.mjs": b"1", "c.wasm": b"2"})}) == 3
