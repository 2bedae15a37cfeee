"""bench.wasm: options, files for engines, the server, and a small network in node.js."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench import report
from bench.engine import CannotRun
from bench.results import TIMED, Result, from_line, read, to_line
from bench.summary import Summary
from bench.wasm import layers
from bench.wasm.__main__ import main
from bench.wasm.places import WEB
from bench.wasm.seating import seatings
from bench.wasm.server import find, serve
from edgesparse.errors import InputError
from tests.conftest import require


def _result(
    engine: str,
    backend: str,
    pattern: str,
    sparsity: float,
    ms: float | None,
    *,
    run: str = "2026-01-02T00:00:00+00:00",
) -> Result:
    """A made-up line: nothing here was measured."""
    summary = None if ms is None else Summary(ms, ms * 0.9, ms * 1.2, 30)
    return Result(
        run=run, command="python -m bench.wasm --json out.json", model="mobilenet_v1", pattern=pattern,
        sparsity=sparsity, zeros=0.8 * sparsity, engine=engine, version="1.0", threads=1,
        status="failed" if ms is None else TIMED, reason="RangeError: no" if ms is None else "",
        max_rel_error=None if ms is None else 1e-6, cpu=None, wall=summary, preempted=None,
        machine={
            "cpu": "a CPU", "flags": "avx2", "cores": "2", "core": "1", "kernel": "Linux 6", "python": "3.11",
            "load_before": "1.00", "commit": "abc", "engine": "chromium 1", "v8_flags": "--no-liftoff",
        },
        where="chromium", backend=backend, code_bytes=120_000,
    )  # fmt: skip


RESULTS = [
    _result("edgesparse", "simd128", "dense", 0.0, 40.0),
    _result("edgesparse", "relaxed", "dense", 0.0, 30.0),
    _result("litert", "relaxed", "dense", 0.0, 36.0),
    _result("edgesparse", "simd128", "block:4x1", 0.9, 8.0),
    _result("edgesparse", "relaxed", "block:4x1", 0.9, 6.0),
    _result("edgesparse", "relaxed", "unstructured", 0.9, 9.0),
    _result("litert", "relaxed", "unstructured", 0.9, 12.0),
    _result("litert", "relaxed", "block:4x1", 0.9, None),
]


def test_engines_sit_ours_first_in_every_place() -> None:
    found = [str(s) for s in seatings("litert,tfjs", "chromium,node", "relaxed,simd128")]
    assert found == [
        f"{e} in {p}"
        for p in ("chromium", "node")
        for e in ("edgesparse relaxed", "edgesparse simd128", "litert", "tfjs")
    ]
    assert [str(s) for s in seatings("none", "node", "relaxed")] == ["edgesparse relaxed in node"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("abacus", "node", "relaxed"), "--against: there is no 'abacus'"),
        (("litert", "lynx", "relaxed"), "--in: there is no 'lynx'"),
        (("litert", "node", "mmx"), "--backends: there is no 'mmx'"),
        (("edgesparse", "node", "relaxed"), "--against: there is no 'edgesparse'"),
    ],
)
def test_names_that_are_not_known(arguments: tuple[str, str, str], words: str) -> None:
    with pytest.raises(InputError, match="hint: known") as caught:
        seatings(*arguments)
    assert words in str(caught.value)


def test_the_server_gives_isolated_pages_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("no")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a b.mjs").write_text("yes")
    mounts = {"x": tmp_path / "site"}
    assert find(mounts, "/x/../secret") is None and find(mounts, "/x/%2e%2e/secret") is None
    assert find(mounts, "/secret") is None and find(mounts, "/x/") is None
    with serve(mounts) as origin:
        with urllib.request.urlopen(f"{origin}/x/a%20b.mjs") as reply:
            assert reply.read() == b"yes" and reply.headers["Content-Type"] == "text/javascript"
            assert reply.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert reply.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{origin}/x/../secret")


def test_every_engine_has_its_module() -> None:
    assert {s.engine.name for s in seatings("onnxruntime-web,tfjs,litert", "node", "relaxed")} == {
        path.stem for path in WEB.glob("*.mjs")
    } - {"host", "node", "first", "language"}


def _convolution(path: Path, *, group: int, activation: str) -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((4, 4 // group, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1], group=group),
        helper.make_node(activation, ["c"], ["y"]),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 4, 8, 8]), ("y", [1, 4, 4, 4]))
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)


@pytest.mark.parametrize(("group", "op", "shape"), [(1, "conv", [3, 3, 4, 4]), (4, "depthwise", [3, 3, 4, 1])])
def test_layers_for_tfjs(group: int, op: str, shape: list[int], tmp_path: Path) -> None:
    _convolution(tmp_path / "m.onnx", group=group, activation="Relu")
    layers.write(tmp_path / "m.onnx", tmp_path / "m.json", tmp_path / "m.bin")
    network = json.loads((tmp_path / "m.json").read_text())
    (step,) = network["steps"]
    assert (step["op"], step["activation"], step["output"]) == (op, "relu", "y")
    assert step["pad"] == [[0, 0], [1, 1], [1, 1], [0, 0]] and step["strides"] == [2, 2]
    place = step["weight"]
    size = int(np.prod(place["shape"])) * 4
    stored = np.frombuffer((tmp_path / "m.bin").read_bytes()[place["offset"] : place["offset"] + size], np.float32)
    weight = numpy_helper.to_array(onnx.load(tmp_path / "m.onnx").graph.initializer[0])
    assert place["shape"] == shape
    assert np.array_equal(stored.reshape(shape)[:, :, 0, 0], weight[0, 0])


def test_layers_that_tfjs_does_not_get(tmp_path: Path) -> None:
    _convolution(tmp_path / "group.onnx", group=2, activation="Relu")
    with pytest.raises(CannotRun, match="2 groups"):
        layers.write(tmp_path / "group.onnx", tmp_path / "m.json", tmp_path / "m.bin")
    _convolution(tmp_path / "tan.onnx", group=1, activation="Tan")
    with pytest.raises(CannotRun, match="none for Tan"):
        layers.write(tmp_path / "tan.onnx", tmp_path / "m.json", tmp_path / "m.bin")


@pytest.mark.parametrize("line", RESULTS, ids=lambda r: f"{r.engine}-{r.backend}-{r.pattern}")
def test_a_line_is_read_as_it_was_written(line: Result) -> None:
    assert from_line(to_line(line), "here") == line


def test_report_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    later = _result("litert", "relaxed", "unstructured", 0.5, 20.0, run="2026-01-03T00:00:00+00:00")
    path.write_text("".join(to_line(r) + "\n" for r in [*RESULTS, later]))
    assert len(read(path)) == len(RESULTS) + 1  # both builds of ours are kept
    assert report.main([str(path), "-o", str(tmp_path / "R.md")]) == 0
    text = (tmp_path / "R.md").read_text()
    rows = text.splitlines()
    assert "## mobilenet_v1 in chromium" in rows and (tmp_path / "R-mobilenet_v1-chromium.svg").exists()
    assert "| edgesparse relaxed | block:4x1 | 30.00 | – | 6.00 |" in rows
    assert "| edgesparse simd128 | block:4x1 | 1.00x | – | 5.00x |" in rows
    assert "| litert relaxed | unstructured | 1.20x | – | 1.33x |" in rows  # to the faster build
    assert "| litert relaxed unstructured | block:4x1 | 1.20x | – | 2.00x |" in rows
    assert "- litert relaxed: the engine failed (block:4x1 0.9): RangeError: no" in rows
    assert "`--no-liftoff`" in text and "- edgesparse 1.0 (relaxed): 120" in rows


def test_a_small_network_in_node(tmp_path: Path) -> None:
    require("torch")
    require("node")
    out = tmp_path / "out.json"
    options = ["--models", "ds_cnn", "--sparsity", "0,0.8", "--patterns", "block:4x1", "--in", "node"]
    options += ["--against", "none"]
    options += ["--runs", "3", "--per-turn", "2", "--warmup", "1", "--json", str(out)]
    assert main(options) == 0
    results = read(out)
    assert [(r.pattern, r.backend, r.status, r.reason) for r in results] == [
        (pattern, backend, "timed", "") for pattern in ("dense", "block:4x1") for backend in ("simd128", "relaxed")
    ]
    for r in results:
        assert r.where == "node" and r.machine["engine"].startswith("node ") and str(tmp_path) not in r.command
        assert r.wall is not None and r.cpu is not None and r.wall.count == r.cpu.count == 3
        assert r.max_rel_error is not None and r.max_rel_error < 1e-4
        assert r.code_bytes is not None and 1_000 < r.code_bytes < 150_000
    before = out.read_text()
    assert main([*options, "--resume"]) == 0
    assert out.read_text() == before
    # an engine whose outputs differ is reported, not timed
    assert main([*options, "--force", "--tolerance", "0"]) == 0
    assert {(r.status, r.wall) for r in read(out)} == {("differs", None)}
