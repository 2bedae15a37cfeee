"""Manifests that mean harm: names and numbers are checked before anything is made of them."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgesparse as es
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import read_manifest
from edgesparse.runtimes.files import read_weights
from edgesparse.storage import in_storage, pack
from tests.conftest import PROJECT
from tests.stages.test_packed_weights import convolutions, selected

DIGITS = PROJECT / "examples" / "digits.onnx"
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(es.compile(es.load(DIGITS), "browser", tmp_path_factory.mktemp("m") / "m.edge"))


def setting(*path: str | int, to: object) -> Change:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    change.__name__ = f"{'.'.join(map(str, path))}={to!r}"
    return change


HARMFUL = [
    setting("weights_bytes", to=1 << 60), setting("arena_bytes", to=1 << 60),
    setting("weights", "file", to="../weights.packed"), setting("weights", "file", to="/etc/passwd"),
    setting("modules", 0, "file", to="../../model.wasm"), setting("files", to={"../x": "0"}),
    setting("weights", "parts", 0, "item_bytes", to=0), setting("weights", "parts", 0, "item_bytes", to=3),
    setting("weights", "parts", 0, "kept", to=1 << 50), setting("weights", "parts", 0, "coding", to="zip"),
]  # fmt: skip


@pytest.mark.parametrize("change", HARMFUL, ids=lambda change: change.__name__)
def test_what_means_harm_is_refused(change: Change, bundle: Path, tmp_path: Path) -> None:
    document = json.loads((bundle / "manifest.json").read_text())
    read_manifest(bundle)
    changed = copy.deepcopy(document)
    change(changed)
    (tmp_path / "manifest.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match="does not fit schema"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("change", [
    setting("weights_bytes", to=64), setting("weights", "parts", 0, "bytes", to=1 << 50),
    setting("weights", "parts", 0, "offset", to=1 << 50),
], ids=lambda change: change.__name__)  # fmt: skip
def test_weights_that_do_not_fit_are_not_unpacked(change: Change, bundle: Path, tmp_path: Path) -> None:
    document = json.loads((bundle / "manifest.json").read_text())
    change(document)
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    (tmp_path / "weights.packed").write_bytes((bundle / "weights.packed").read_bytes())
    with pytest.raises(RuntimeFailure, match=r"it holds \d+ bytes, expected"):
        read_weights(tmp_path, read_manifest(tmp_path))


@pytest.mark.parametrize("numbers", [{"height": 1 << 40}, {"inputs": 1 << 40}, {"matrix": [[0.0] * 3] * 1000}], ids=str)
def test_transforms_take_what_they_say(numbers: dict[str, Any], bundle: Path, tmp_path: Path) -> None:
    selection, _ = in_storage(selected(convolutions()), "f32")
    part = next(p for p in pack(selection)[1].parts if p.winograd is not None).model_dump(mode="json")
    document = json.loads((bundle / "manifest.json").read_text())
    document["weights_bytes"] = 1 << 31
    document["weights"]["parts"] = [part]
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    read_manifest(tmp_path)
    part["winograd"] |= numbers
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="its transform"):
        read_manifest(tmp_path)


def test_lists_within_lists_are_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="not a JSON document"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", ["bomb", "short", "behind it"])
def test_a_file_is_unpacked_as_far_as_it_says(content: str, bundle: Path, tmp_path: Path) -> None:
    packed = (bundle / "weights.packed").read_bytes()
    data = {
        "bomb": gzip.compress(bytes(200_000_000), 9), "short": gzip.compress(gzip.decompress(packed)[:-1]),
        "behind it": packed + b"more",
    }[content]  # fmt: skip
    document = json.loads((bundle / "manifest.json").read_text())
    document["files"]["weights.packed"] = hashlib.sha256(data).hexdigest()
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    (tmp_path / "weights.packed").write_bytes(data)
    manifest = read_manifest(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(RuntimeFailure, match=r"damaged: it has (more|less) than"):
            read_weights(tmp_path, manifest)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
