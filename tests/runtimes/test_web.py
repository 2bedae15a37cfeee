"""The ES module loader and the runner in node.js."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgesparse.errors import RuntimeFailure
from edgesparse.manifest import read_manifest
from edgesparse.runtimes import node as node_runtime

from .conftest import K, MakeBundle, W, X, write_manifest

Script = Callable[[Path, str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def node(require: object, built: Callable[..., Path]) -> str:
    assert callable(require)
    require("node")
    return node_runtime._node(built("wasm"), relaxed=False)[0]


@pytest.fixture
def script(node: str) -> Script:
    """Runs an ES module with ``load`` and the rest of the loader imported and ``at`` the bundle's path."""

    def run(bundle: Path, body: str) -> subprocess.CompletedProcess[str]:
        loader = json.dumps((bundle / "model.mjs").absolute().as_uri())
        text = (
            f"import * as edge from {loader}; import assert from 'node:assert/strict'; import fs from 'node:fs';\n"
            f"const at = {json.dumps(str(bundle))};\n{body}"
        )
        command = [node, "--input-type=module", "-e", text]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


ONE_RUN = """
const model = await edge.loadHere(BASE);
assert.deepEqual(model.inputs.map((p) => [p.name, p.dtype, p.shape]), [["x", "f32", [1, 5]], ["k", "i64", [3]]]);
const inputs = { x: Float32Array.of(0, 1, 2, 3, 4), k: BigInt64Array.of(1n, -2n, 2n ** 40n) };
const first = model.run(inputs);
assert.deepEqual([...first.y], [0.5, 1, 4, 9, 1000008]);
assert.deepEqual([...first.n], [2n, -1n, 2n ** 40n + 1n]);
model.run({ ...inputs, x: new Float32Array(5) });
assert.deepEqual([...first.y], [0.5, 1, 4, 9, 1000008], "results are copies");
await model.close();
assert.throws(() => model.run(inputs), edge.RunError);
"""


@pytest.mark.parametrize(
    "base", ["at", "at + '/'", "'file://' + at", "new URL('file://' + at + '/')", "at, { verify: true }"]
)
def test_load_and_run(script: Script, built: Callable[..., Path], base: str) -> None:
    done = script(built("wasm"), ONE_RUN.replace("BASE", base))
    assert done.returncode == 0, done.stderr


def test_load_over_http(script: Script, built: Callable[..., Path]) -> None:
    body = """
    import http from "node:http";
    const server = http.createServer((request, response) => {
      if (request.url === "/a/none/manifest.json") { response.statusCode = 404; response.end(); return; }
      response.end(fs.readFileSync(at + request.url.replace("/a/b", "")));
    });
    await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
    const base = `http://127.0.0.1:${server.address().port}/a`;
    try {
      { ONE_RUN }
      await assert.rejects(edge.loadHere(`${base}/none`), { code: "fetch", message: /HTTP status 404/ });
    } finally { server.close(); server.closeAllConnections?.(); }
    await assert.rejects(edge.loadHere(`${base}/b`), (e) => e instanceof edge.LoadError && e.code === "fetch");
    """.replace("ONE_RUN", ONE_RUN.replace("BASE", "`${base}/b`"))
    done = script(built("wasm"), body)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("inputs", "code", "words"),
    [
        ("{ k }", "missing", "input 'x' is missing; expected a Float32Array of 5 values (shape [1, 5])"),
        ("{ x, k, z: x }", "unknown", "no input 'z'"),
        ("{ x: new Float64Array(5), k }", "type", "got Float64Array"),
        ("{ x: [1, 2, 3, 4, 5], k }", "type", "got Array"),
        ("{ x: null, k }", "type", "got null"),
        ("{ x, k: new BigUint64Array(3) }", "type", "expected a BigInt64Array of 3 values"),
        ("{ x: new Float32Array(6), k }", "length", "got 6 values"),
    ],
)
def test_wrong_inputs(script: Script, built: Callable[..., Path], inputs: str, code: str, words: str) -> None:
    body = f"""
    const model = await edge.loadHere(at), x = new Float32Array(5), k = new BigInt64Array(3);
    try {{ model.run({inputs}); console.log("accepted"); }}
    catch (e) {{ assert(e instanceof edge.InputError); console.log(JSON.stringify([e.name, e.code, e.message])); }}
    """
    done = script(built("wasm"), body)
    name, given, message = json.loads(done.stdout)
    assert (name, given) == ("InputError", code) and words in message


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("manifest.json", b"<html>", "manifest"),
        ("manifest.json", b'{"schema_version": 99, "kind": "wasm"}', "manifest"),
        ("manifest.json", None, "fetch"),
        ("model-toy.wasm", None, "fetch"),
        ("model-toy.wasm", b"\0asm\1\0\0\0\xff", "compile"),
        ("weights.packed", b"1234", "damaged"),
    ],
)
def test_damaged_bundles(script: Script, toy: MakeBundle, name: str, content: bytes | None, code: str) -> None:
    bundle = toy("wasm")
    (bundle / name).unlink()
    if content is not None:
        (bundle / name).write_bytes(content)
    done = script(bundle, "try { await edge.loadHere(at, { threads: 1 }); } catch (e) { console.log(e.name, e.code); }")
    assert done.stdout == f"LoadError {code}\n", done.stderr


def test_verify_finds_a_flipped_bit(script: Script, toy: MakeBundle) -> None:
    bundle = toy("wasm")
    content = bytearray((bundle / "weights.packed").read_bytes())
    content[3] ^= 1
    (bundle / "weights.packed").write_bytes(content)
    body = "try { await edge.loadHere(at, { verify: true }); } catch (e) { console.log(e.code, e.message); }"
    assert script(bundle, body).stdout.startswith("damaged weights.packed is damaged")


def test_an_engine_without_relaxed_simd_is_told(script: Script, toy: MakeBundle) -> None:
    bundle = toy("wasm")
    write_manifest(bundle, "wasm", isas=("relaxed",))
    body = """
    WebAssembly.validate = (bytes) => bytes.length < 30;  // an engine that knows SIMD but not relaxed SIMD
    try { await edge.loadHere(at, { threads: 1 }); } catch (e) { console.log(e.code, e.message); }
    """
    done = script(bundle, body)
    assert done.stdout.startswith("relaxed-simd") and "--device browser" in done.stdout


def test_an_engine_without_simd_is_told(script: Script, built: Callable[..., Path]) -> None:
    body = """
    WebAssembly.validate = () => false;
    try { await edge.loadHere(at, { threads: 1 }); } catch (e) { console.log(e.code); }
    """
    assert script(built("wasm"), body).stdout == "simd\n"


def test_features_tell_relaxed_simd(script: Script, built: Callable[..., Path]) -> None:
    done = script(built("wasm"), "console.log(JSON.stringify(edge.features()), process.versions.node.split('.')[0])")
    text, major = done.stdout.split()
    assert json.loads(text) == {"simd": True, "relaxedSimd": int(major) > 20, "threads": True}


@pytest.mark.cpus(2)
@pytest.mark.parametrize("base", ["at, { threads: 2 }", "at, { threads: 2, verify: true }", "at, { threads: 0 }"])
def test_threads(script: Script, built: Callable[..., Path], base: str) -> None:
    done = script(built("wasm"), ONE_RUN.replace("BASE", base))
    assert done.returncode == 0, done.stderr


@pytest.mark.cpus(2)
def test_a_program_ends_though_its_model_was_not_closed(script: Script, built: Callable[..., Path]) -> None:
    body = ONE_RUN.replace("BASE", "at, { threads: 2 }").partition("await model.close();")[0]
    assert script(built("wasm"), body).returncode == 0


@pytest.mark.cpus(2)
@pytest.mark.parametrize(
    ("before", "threads", "words"),
    [
        ("globalThis.crossOriginIsolated = false;", "2", "crossOriginIsolated is false"),
        ("globalThis.SharedArrayBuffer = undefined;", "2", "this engine has no SharedArrayBuffer"),
        ("", "1.5", "1.5 is not a number of threads"),
        ("", "-1", "-1 is not a number of threads"),
        ("", "257", "257 is not a number of threads"),
        ("", "256", "256 threads, but there "),
        ("WebAssembly.Memory = class { constructor() { throw new RangeError('no'); } };", "0", "bytes of shared"),
    ],
)  # fmt: skip
def test_threads_that_cannot_be(
    script: Script, built: Callable[..., Path], before: str, threads: str, words: str
) -> None:
    body = f"""{before}
    try {{ await edge.loadHere(at, {{ threads: {threads}, strict: true }}); }}
    catch (e) {{ console.log(e instanceof edge.LoadError, e.code, e.message); }}
    """
    done = script(built("wasm"), body)
    code = "memory" if "Memory" in before else "threads"
    assert done.stdout.startswith(f"true {code} ") and words in done.stdout, done.stdout + done.stderr


class TestRunner:
    @pytest.fixture
    def run(
        self, node: str, built: Callable[..., Path], tmp_path: Path
    ) -> Callable[..., subprocess.CompletedProcess[str]]:
        X.tofile(tmp_path / "x.bin")
        K.tofile(tmp_path / "k.bin")
        shutil.copytree(built("wasm"), tmp_path / "toy.edge")

        def call(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [node, str(node_runtime.RUNNER), *arguments]
            return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

        return call

    GOOD = ("--bundle", "toy.edge", "--input", "x.bin", "--input", "k.bin")

    def test_outputs(self, run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
        done = run(*self.GOOD, "--output", "y.bin", "--output", "n.bin", "--num-runs", "3", "--json")
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)
        assert (facts["model"], facts["samples"], len(facts["wall_ns"])) == ("toy", 1, 3)
        assert np.array_equal(np.fromfile(tmp_path / "y.bin", np.float32), (2 * X + W).ravel())
        assert np.array_equal(np.fromfile(tmp_path / "n.bin", np.int64), K + 1)
        assert not list(tmp_path.glob("*.tmp"))

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--bogus",), "unknown option --bogus"),
            (("toString", "1"), "unknown option toString"),
            (("--toString", "1"), "unknown option --toString"),
            ((), "--bundle is missing"),
            (("--bundle",), "--bundle needs a value"),
            (("--bundle", "none.edge"), "cannot load model.mjs of none.edge"),
            (GOOD[:2], "no --input for x"),
            ((*GOOD, "--input", "z.bin"), "one --input too many: z.bin"),
            ((*GOOD, "--output", "y.bin"), "no --output for n"),
            ((*GOOD, "--samples", "0"), "at least 1"),
            ((*GOOD, "--samples", "1e3"), "not a number in range: --samples 1e3"),
            ((*GOOD, "--samples", "2"), "input file x.bin has 20 bytes, expected 40"),
            ((*GOOD[:4], "--input", "none.bin"), "cannot open none.bin"),
            ((*GOOD, "--output", "no/y.bin", "--output", "n.bin"), "cannot write an output"),
        ],
    )
    def test_failures(
        self,
        run: Callable[..., subprocess.CompletedProcess[str]],
        arguments: tuple[str, ...],
        words: str,
        tmp_path: Path,
    ) -> None:
        before = sorted(tmp_path.iterdir())
        done = run(*arguments)
        assert done.returncode == 2 and done.stdout == "" and words in done.stderr
        assert "    at " not in done.stderr  # no stack trace for what the user can act on
        assert sorted(tmp_path.iterdir()) == before

    def test_help_and_version(self, run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
        assert "--warmup-runs" in run("--help").stdout
        assert run("--version").stdout.startswith("node ")


class TestChoosingNode:
    """Which node.js is taken, with programs that only print a version."""

    @pytest.fixture
    def fake(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        def make(version: str) -> None:
            program = tmp_path / "node"
            program.write_text(f"#!/bin/sh\necho {version}\n")
            program.chmod(0o755)
            monkeypatch.setenv("NODE", str(program))

        return make

    @pytest.mark.parametrize(
        ("version", "relaxed", "flags"),
        [
            ("v18.20.2", False, []),
            ("v20.1.0", True, ["--experimental-wasm-relaxed-simd"]),
            ("v20.1.0", False, []),
            ("v21.0.0", True, []),
            ("v25.0.0-nightly1", True, []),
        ],
    )
    def test_flags(
        self, fake: Callable[[str], None], tmp_path: Path, version: str, relaxed: bool, flags: list[str]
    ) -> None:
        fake(version)
        assert node_runtime._node(tmp_path, relaxed)[2] == flags

    @pytest.mark.parametrize(
        ("version", "relaxed", "words"),
        [
            ("v16.20.2", False, "version 16.20.2, older than 18"),
            ("v18.1.0", True, "version 18.1.0; relaxed SIMD needs 20"),
            ("nonsense", False, "does not run"),
        ],
    )
    def test_refused(
        self, fake: Callable[[str], None], tmp_path: Path, version: str, relaxed: bool, words: str
    ) -> None:
        fake(version)
        write_manifest(tmp_path, "wasm", isas=("relaxed" if relaxed else "simd128",))
        with pytest.raises(RuntimeFailure, match=words) as caught:
            node_runtime.open(tmp_path, read_manifest(tmp_path))
        assert "pip install" in str(caught.value)
