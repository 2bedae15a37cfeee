"""`demo`: the networks it builds, the files of the page, its export, and what the command refuses."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import time
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from PIL import Image

import edgesparse as es
from edgesparse import demo
from edgesparse.compare import output_error
from edgesparse.demo_network import mobilenet_shape
from edgesparse.demo_server import POLICY
from edgesparse.demo_site import site, write_site
from edgesparse.errors import InputError
from edgesparse.manifest import read_manifest
from tests.conftest import PROJECT
from tests.tiny_models import linear

from .conftest import Call

PAGES = Path(str(files("edgesparse") / "pages/demo"))


@pytest.fixture(scope="module")
def digits() -> Path:
    return demo.build(demo.digits())


def network(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / demo.NETWORK).read_text())
    return found


class TestNetworks:
    def test_digits(self, digits: Path) -> None:
        found = network(digits)
        assert [(v["id"], v["sparsity"]) for v in found["variants"]] == [("dense", 0), ("block-4x1-75", 0.75)]
        assert found["labels"] == [*"0123456789"] and found["samples"] == 10 and found["test_images"] == 200
        # the quickstart finds as many right ones, by another way: its README says at least 97%
        assert all(0.97 <= v["accuracy"] <= 1 for v in found["variants"])
        images = np.fromfile(digits / "input-0.bin", np.float32).reshape(10, 1, 8, 8)
        with np.load(PROJECT / "examples/digits_test.npz") as data:
            for digit in range(10):
                assert np.array_equal(images[digit], data["image"][list(data["labels"]).index(digit)])

    def test_expected_outputs_are_those_of_the_pruned_network(self, digits: Path, require: Any) -> None:
        """Of each variant its own: the bundle agrees with them in another engine, and the two differ."""
        require("wasmtime")
        images = np.fromfile(digits / "input-0.bin", np.float32).reshape(10, 1, 1, 8, 8)
        expected = {}
        for variant in ("dense", "block-4x1-75"):
            expected[variant] = np.fromfile(digits / variant / "expected-0.bin", np.float32).reshape(10, 1, 10)
            with es.open(digits / variant, runtime="wasmtime") as session:
                given = session.run_samples([(image,) for image in images])
            error = output_error("logits", list(expected[variant]), [sample[0] for sample in given])
            assert error.max_rel < 1e-5 and error.agree == 10
        assert np.abs(expected["dense"] - expected["block-4x1-75"]).max() > 0.1

    def test_sizes(self, digits: Path) -> None:
        found = network(digits)
        for variant in found["variants"]:
            folder = digits / variant["id"]
            there = {f.name: f.stat().st_size for f in folder.iterdir() if not f.name.startswith("expected")}
            assert variant["sizes"] == there
            manifest = read_manifest(folder)
            assert {m.file for m in manifest.modules} < set(there)
            # nothing but what browsers fetch
            assert not [name for name in there if Path(name).suffix in (".c", ".h", ".mjs", ".ts")]
        weights = [i.raw_data for i in onnx.load(PROJECT / "examples/digits.onnx").graph.initializer]
        assert found["dense_gzip_bytes"] == len(gzip.compress(b"".join(weights), 9, mtime=0))

    def test_what_was_built_is_found_again(self, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(demo, "_build", lambda *_: pytest.fail("built again"))
        assert demo.build(demo.digits()) == digits

    def test_what_nobody_uses_is_forgotten(self, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGESPARSE_CACHE", str(tmp_path))
        monkeypatch.setattr(demo, "_build", lambda *_: None)
        long_ago, ours = time.time() - demo.KEPT_S - 60, tmp_path / "demo" / digits.name
        for name in ("digits-old", "digits-new", "race-small-old"):
            (tmp_path / "demo" / name).mkdir(parents=True)
            if name.endswith("old"):
                os.utime(tmp_path / "demo" / name, (long_ago, long_ago))
        assert demo.build(demo.digits()) == ours
        assert {p.name for p in ours.parent.iterdir()} == {ours.name, "digits-new", "race-small-old"}
        os.utime(ours, (long_ago, long_ago))
        demo.build(demo.digits())
        assert ours.stat().st_mtime > long_ago + 60

    def test_what_fails_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGESPARSE_CACHE", str(tmp_path))
        monkeypatch.setattr(demo, "run_onnxruntime", lambda *_: (_ for _ in ()).throw(InputError("no")))
        monkeypatch.setattr(es, "compile", lambda *_, **__: None)
        with pytest.raises(InputError):
            demo.build(demo.digits())
        assert list((tmp_path / "demo").iterdir()) == []

    def test_keys(self) -> None:
        """Whatever decides what is built makes another folder."""

        def own(**changes: Any) -> demo.Recipe:
            given: dict[str, Any] = {
                "key": "k",
                "sparsities": [0.0, 0.5],
                "patterns": ["block:4x1"],
                "labels": ["a"],
            } | changes
            return demo.own("m.onnx", lambda: mobilenet_shape(0.25), **given)

        others: list[dict[str, Any]] = [
            {"key": "l"},
            {"sparsities": [0.0, 0.6]},
            {"patterns": ["unstructured"]},
            {"labels": ["b"]},
        ]
        keys = [demo._key(own(**changes)) for changes in [{}, *others]]
        assert len(set(keys)) == 5 and demo._key(own()) == keys[0]

    def test_variants(self) -> None:
        found = demo.own("m", lambda: mobilenet_shape(0.25), "k", [0, 0.9], ["block:4x1", "unstructured"]).variants
        assert [v.id for v in found] == ["dense", "block-4x1-90", "unstructured-90"]

    @pytest.mark.parametrize(("pattern", "sparsity"), [("", 0.0), ("block:4x1", 0.9), ("unstructured", 0.5)])
    def test_network_of_the_race(self, pattern: str, sparsity: float) -> None:
        """MobileNetV1's weights, sparse where asked; activations neither vanish nor grow."""
        import onnxruntime as ort

        proto = ir.to_proto(mobilenet_shape(1.0, pattern, sparsity))
        weights = {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}
        assert sum(w.size for w in weights.values()) == 4_209_088  # the paper's 4.2 million, BatchNorm folded
        pointwise = [w for name, w in weights.items() if name.startswith("pointwise")]
        assert len(pointwise) == 13
        for weight in pointwise:
            assert np.mean(weight == 0) == pytest.approx(sparsity, abs=0.01)
            if pattern == "block:4x1":
                zero = (weight == 0).reshape(-1, 4, weight.shape[1])
                assert np.array_equal(zero.all(axis=1), zero.any(axis=1))
        session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        image = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
        (logits,) = session.run(None, {"image": image})
        assert logits.shape == (1, 1000) and 0.01 < logits.std() < 10


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data: str) -> None:
        self.text[self.inside] = self.text.get(self.inside, "") + data.strip()


class TestPage:
    def test_policy_is_that_of_the_server(self) -> None:
        elements = Elements((PAGES / "index.html").read_text()).found
        assert [a["content"] for t, a in elements if t == "meta" and a.get("http-equiv")] == [POLICY]

    def test_nothing_inline_and_nothing_from_elsewhere(self) -> None:
        page = Elements((PAGES / "index.html").read_text())
        assert not page.text.get("script") and not page.text.get("style")
        assert not [a for _, a in page.found for name in a if name.startswith("on") or name == "style"]
        for path in PAGES.iterdir():
            assert set(re.findall(r"https?:/*[\w.-]+", path.read_text())) <= {"http://www.w3.org"}, path.name

    def test_modules_import_what_is_there(self, digits: Path) -> None:
        content = site([digits])
        for name, data in content.items():
            if name.endswith(".mjs"):
                assert isinstance(data, bytes)
                code = re.sub(r"^//.*$", "", data.decode(), flags=re.MULTILINE)
                for other in re.findall(r'(?:from|import) "\./([^"]+)"', code):
                    assert f"{Path(name).parent}/{other}".removeprefix("./") in content, f"{name} imports {other}"


class TestExport:
    def test_all_files_and_a_worker_that_knows_them(self, digits: Path, tmp_path: Path) -> None:
        content = site([digits], export=True)
        write_site(content, tmp_path / "site")
        written = {p.relative_to(tmp_path / "site").as_posix() for p in (tmp_path / "site").rglob("*") if p.is_file()}
        assert written == set(content) and "networks/digits/dense/manifest.json" in written
        worker = (tmp_path / "site/service-worker.js").read_text()
        kept = json.loads(re.findall(r"^const FILES = (\[.*?\]);", worker, re.MULTILINE)[0])
        assert set(kept) - {"./"} == written - {"service-worker.js"} and "%%" not in worker
        assert json.loads((tmp_path / "site/demo.json").read_text())["offline"] is True

    def test_other_content_is_another_version(self, digits: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(digits, copy)
        before = site([copy], export=True)["service-worker.js"]
        assert site([copy], export=True)["service-worker.js"] == before
        (copy / "dense/expected-0.bin").write_bytes(b"x")
        assert site([copy], export=True)["service-worker.js"] != before

    def test_served_pages_keep_nothing(self, digits: Path) -> None:
        served = site([digits])
        assert "retired-worker.js" not in served
        assert b"unregister()" in bytes(served["service-worker.js"]) and b"fetch" not in bytes(
            served["service-worker.js"]
        )

    def test_only_a_site_is_replaced(self, digits: Path, tmp_path: Path) -> None:
        content, out = site([digits], export=True), tmp_path / "site"
        write_site(content, out)
        with pytest.raises(InputError, match="exists already"):
            write_site(content, out)
        (out / "old").write_text("")
        write_site(content, out, force=True)
        assert not (out / "old").exists() and (out / "index.html").is_file()
        mine = tmp_path / "mine"
        mine.mkdir()
        (mine / "letter.txt").write_text("dear")
        with pytest.raises(InputError, match="not replaced"):
            write_site(content, mine, force=True)
        assert (mine / "letter.txt").read_text() == "dear"

    def test_command(self, call: Call, digits: Path, tmp_path: Path) -> None:
        code, out, _ = call("demo", "--race", "none", "--export", "site", "--json")
        assert code == 0
        found = json.loads(out)
        there = [p for p in (tmp_path / "site").rglob("*") if p.is_file()]
        assert found == {"folder": "site", "files": len(there), "bytes": sum(p.stat().st_size for p in there)}


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            (["--race", "fast"], "--race 'fast' is none of small, full, both, none"),
            (["--export", "x", "--port", "8000"], "--export writes files and serves nothing"),
            (["--export", "x", "--open"], "--export writes files and serves nothing"),
            (["--export", "x", "--host", "0.0.0.0"], "--export writes files and serves nothing"),
            (["--labels", "labels.txt"], "--sample and --shape belong to a model of yours"),
            (["--sample", "photo.jpg"], "--sample and --shape belong to a model of yours"),
            (["--sparsity", "0.9"], "--sparsity, --pattern, --labels, --sample and --shape belong to a model"),
            (["model.onnx", "--pattern", " , "], "--pattern names no pattern"),
            (["model.onnx", "--sparsity", "0,many"], "--sparsity 'many' is no number"),
            (["model.onnx", "--sparsity", "1"], "sparsity 1 is outside of [0, 1)"),
            (["model.onnx", "--sparsity", "nan"], "sparsity nan is outside of [0, 1)"),
            (["model.onnx", "--pattern", "stripes"], "stripes"),
            (["model.onnx", "--labels", "empty.txt"], "empty.txt: holds no names"),
            (["model.onnx", "--labels", "binary.txt"], "binary.txt: cannot be read: is no UTF-8 text"),
            (["model.onnx", "--labels", "none.txt"], "none.txt: cannot be read: no such file or directory"),
            (["none.onnx"], "none.onnx: no such file"),
            (["--export", "model.onnx"], "model.onnx: exists already"),
            (["--host", "192.0.2.1"], "192.0.2.1"),
        ],
    )
    def test_refusals(self, call: Call, tmp_path: Path, arguments: list[str], what: str) -> None:
        onnx.save(linear(), tmp_path / "model.onnx")
        (tmp_path / "empty.txt").write_text("\n\n")
        (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\0")
        before = sorted(tmp_path.iterdir())
        code, out, err = call("demo", *arguments)
        assert (code, out) == (2, "") and what in err and "hint: " in err
        assert sorted(tmp_path.iterdir()) == before

    def test_samples_must_be_images(self, call: Call, digits: Path, tmp_path: Path) -> None:
        (tmp_path / "page.png").write_text("<svg>")
        Image.new("RGB", (4, 4)).save(tmp_path / "really.gif", "PNG")
        onnx.save(linear(), tmp_path / "model.onnx")
        arguments = ("demo", "model.onnx", "--sparsity", "0", "--race", "none", "--export", "site")
        code, _, err = call(*arguments, "--sample", "really.gif", "--sample", "page.png")
        assert code == 2 and "page.png: is no image that browsers show" in err and not (tmp_path / "site").exists()
        assert call(*arguments, "--sample", "really.gif")[0] == 0
        assert hashlib.sha256((tmp_path / "site/samples/1.png").read_bytes()).digest() == (
            hashlib.sha256((tmp_path / "really.gif").read_bytes()).digest()
        )

    def test_labels_of_another_network_are_told(self, call: Call, digits: Path, tmp_path: Path) -> None:
        onnx.save(linear(), tmp_path / "model.onnx")
        arguments = ("demo", "model.onnx", "--sparsity", "0", "--race", "none", "--labels", "labels.txt", "--export")
        (tmp_path / "labels.txt").write_text("background\na\nb\nc\n")
        code, _, err = call(*arguments, "one")
        assert code == 0 and "--labels has 4 names, but outputs have 3 classes" in err
        (tmp_path / "labels.txt").write_text("a\nb\nc\n")
        code, _, err = call(*arguments, "two")
        assert code == 0 and "--labels" not in err

    def test_patterns_that_have_one_sparsity(self, call: Call, digits: Path, tmp_path: Path) -> None:
        shutil.copy(PAGES.parents[1] / "examples/digits.onnx", tmp_path / "model.onnx")
        code, _, err = call("demo", "model.onnx", "--pattern", "nm:2:4", "--race", "none", "--export", "site")
        assert code == 0, err
        own = json.loads((tmp_path / "site/demo.json").read_text())["networks"][-1]
        assert [(v["sparsity"], v["pattern"]) for v in own["variants"]] == [(0.0, ""), (0.5, "nm:2:4")]
