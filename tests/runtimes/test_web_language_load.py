"""Bundles of language models that are damaged, or larger than the memory there is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

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
