"""Bundles of language models that are damaged, or larger than the memory there is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesparse import runtimes
from edgesparse.errors import RuntimeFailure

from .language_scripts import language_bundles, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    language_bundles(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("weights.1.bin", None, "fetch"),
        ("weights.0.bin", b"1234", "damaged"),
        ("weights.2.bin", b"", "damaged"),
        ("tokenizer.bin", None, "fetch"),
        ("tokenizer.bin", b"12345", "damaged"),
    ],
)
def test_damaged_bundles(folder: Path, tmp_path: Path, name: str, content: bytes | None, code: str) -> None:
    bundle = tmp_path / "broken.edge"
    shutil.copytree(folder / ("words.edge" if "tokenizer" in name else "lm.edge"), bundle)
    (bundle / name).unlink()
    if content is not None:
        (bundle / name).write_bytes(content)
    for worker in ("false", "true"):
        run(bundle, f"""
        await assert.rejects(edge.load({{ worker: {worker} }}), {{ name: "LoadError", code: "{code}" }});
        told(0);
        """)  # fmt: skip


def test_weights_of_other_bytes_are_found_out(folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "broken.edge"
    shutil.copytree(folder / "lm.edge", bundle)
    data = bytearray((bundle / "weights.1.bin").read_bytes())
    data[7] ^= 1
    (bundle / "weights.1.bin").write_bytes(data)
    run(bundle, """
    await edge.load({ threads: 1 });
    await assert.rejects(edge.load({ verify: true }), { code: "damaged", message: /weights.1.bin/ });
    told(0);
    """)  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights_bytes": 5_000_000_000},
        {"decoder": {"context": 0}},
        {"decoder": {"tokenizer": "../x"}},
        {"decoder": {"weight_files": [{}]}},
        {"decoder": {"weight_files": None}},
    ],
)
def test_a_manifest_that_asks_for_what_is_not(folder: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
    bundle = tmp_path / "asks.edge"
    shutil.copytree(folder / "lm.edge", bundle)
    path = bundle / "manifest.json"
    document = json.loads(path.read_text())
    document |= {**wrong, "decoder": document["decoder"] | wrong.get("decoder", {})}
    path.write_text(json.dumps(document))
    run(bundle, """
    await assert.rejects(edge.load(), { name: "LoadError", code: "manifest" });
    told(0);
    """)  # fmt: skip


SHORT = "its weight_files are not weights.0.bin, weights.1.bin and so on,"
Files = list[dict[str, Any]]


def _longer(files: Files, more: int) -> Files:
    return [*files[:-1], {**files[-1], "bytes": files[-1]["bytes"] + more}]


WRONG: dict[str, Callable[[Files], Files]] = {
    "none": lambda files: [],
    "the last is missing": lambda files: files[:-1],
    "the first is missing": lambda files: files[1:],
    "one is shorter": lambda files: _longer(files, -4),
    "one is longer": lambda files: _longer(files, 4),
    "one more": lambda files: [*files, {"file": f"weights.{len(files)}.bin", "bytes": 4}],
    "one twice": lambda files: [files[0], files[0], *files[2:]],
    "out of order": lambda files: [files[1], files[0], *files[2:]],
}


@pytest.fixture(params=WRONG)
def partial(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Path:
    """A bundle whose manifest does not list the files of its weights as they are."""
    bundle = tmp_path / "partial.edge"
    shutil.copytree(folder / "lm.edge", bundle)
    path = bundle / "manifest.json"
    document = json.loads(path.read_text())
    files = document["decoder"]["weight_files"]
    assert len(files) > 2 and files[0]["bytes"] == files[1]["bytes"]
    document["decoder"]["weight_files"] = WRONG[request.param](files)
    path.write_text(json.dumps(document))
    return bundle


def test_files_that_are_not_all_of_the_weights(partial: Path) -> None:
    """What none of them holds would be zeros."""
    for worker in ("false", "true"):
        run(partial, f"""
        await assert.rejects(edge.load({{ worker: {worker} }}), (error) => error.name === "LoadError"
          && error.code === "manifest" && error.message.includes("manifest.json is damaged: {SHORT}")
          && error.hint === "copy the bundle again");
        told(0);
        """)  # fmt: skip


@pytest.mark.parametrize("engine", ["wasmtime", "node", "chromium"])
def test_files_that_are_not_all_of_the_weights_are_refused_before_they_run(
    engine: str, partial: Path, require: Callable[[str], None]
) -> None:
    require(engine)
    with pytest.raises(RuntimeFailure, match=f"manifest.json is damaged: {SHORT}") as caught:
        runtimes.open(partial, engine)
    assert caught.value.where == str(partial) and "copy the bundle again" in caught.value.hint


def test_a_file_of_another_length_than_the_manifest_says(
    folder: Path, tmp_path: Path, require: Callable[[str], None]
) -> None:
    """Its SHA-256 is right, and all files together are as long as they should be."""
    require("wasmtime")
    bundle = tmp_path / "other.edge"
    shutil.copytree(folder / "lm.edge", bundle)
    path = bundle / "manifest.json"
    document = json.loads(path.read_text())
    files = document["decoder"]["weight_files"]
    files[0]["bytes"] -= 4
    files[1]["bytes"] += 4
    path.write_text(json.dumps(document))
    said = rf"weights\.0\.bin is damaged: it holds {files[0]['bytes'] + 4} bytes"
    with pytest.raises(RuntimeFailure, match=said):
        runtimes.open(bundle, "wasmtime")
    run(bundle, f"""
    await assert.rejects(edge.load(), {{ code: "damaged", message: /{said}/ }});
    told(0);
    """)  # fmt: skip


def test_no_memory(folder: Path) -> None:
    """Weights and caches of more than an engine gives: said so, with the bytes."""
    found = run(folder / "lm.edge", """
    const grow = WebAssembly.Memory.prototype.grow;
    WebAssembly.Memory.prototype.grow = () => { throw new RangeError("no more"); };
    const error = await edge.loadHere({ threads: 1 }).then(() => null, (error) => error);
    WebAssembly.Memory.prototype.grow = grow;
    told([error?.name, error?.code, error?.message]);
    """)  # fmt: skip
    assert found[:2] == ["LoadError", "memory"] and "bytes of WebAssembly memory" in found[2]
