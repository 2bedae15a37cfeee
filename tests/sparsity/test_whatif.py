"""`whatif`: curves, break-even points, recipes and the picture, on predictions or on kernels whose time is made up."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from edgesparse.errors import InputError
from edgesparse.report import short
from edgesparse.sparsity import whatif as module
from edgesparse.sparsity.curves import html, svg
from edgesparse.sparsity.latency import LatencyPlan
from edgesparse.sparsity.recipe import read_recipe
from edgesparse.sparsity.whatif import WhatIf, WhatIfLayer, plan_for_speedup, whatif
from tests.stages.conftest import Call
from tests.tiny_models import f32, linear, model, numbers

SVG = "{http://www.w3.org/2000/svg}"


def proto(sizes: tuple[int, ...] = (8, 64, 128, 16)) -> onnx.ModelProto:
    """3x3 and pointwise convolutions over 14x14 in turns, the first and last of which stay dense."""
    nodes, weights = [], {}
    for k in range(len(sizes) - 1):
        side = 3 if k == 1 else 1
        nodes.append(helper.make_node("Conv", [f"x{k}", f"w{k}"], [f"x{k + 1}"], f"conv{k}", pads=[side // 2] * 4))
        weights[f"w{k}"] = numbers(sizes[k + 1], sizes[k], side, side, seed=k)
    last = len(sizes) - 1
    return model(nodes, [f32("x0", 1, sizes[0], 14, 14)], [f32(f"x{last}", 1, sizes[-1], 14, 14)], weights)


def loaded(*sizes: int) -> ir.Model:
    return ir.from_proto(proto(sizes or (8, 64, 128, 16)))


def layer(**curves: dict[float, float]) -> WhatIfLayer:
    return WhatIfLayer("conv", "w", (64, 64, 1, 1), 100.0, {k: {0.0: 100.0, **v} for k, v in curves.items()}, {})


@pytest.mark.parametrize(
    ("curve", "share"),
    [
        ({0.5: 50.0}, 0.5),  # N:M has one level
        ({0.2: 100.0, 0.4: 50.0}, 0.2 + 0.2 / 50),  # at 0.2 as slow as dense, one percent less counts as faster
        ({0.2: 129.0, 0.4: 89.0, 0.6: 50.0}, 0.35),
        ({0.2: 80.0, 0.4: 120.0, 0.6: 78.0}, 0.5),  # from the last crossing on
        ({0.2: 150.0, 0.4: 120.0}, None),
    ],
)
def test_break_even(curve: dict[float, float], share: float | None) -> None:
    found = layer(p=curve).break_even("p")
    assert found is None if share is None else found == pytest.approx(share)


def test_best_pattern_and_recipe() -> None:
    one = layer(a={0.5: 60.0, 0.9: 30.0}, b={0.5: 55.0, 0.9: 35.0})
    slow = WhatIfLayer("other", "v", (8, 8, 1, 1), 10.0, {"a": {0.0: 10.0, 0.5: 12.0, 0.9: 8.0}}, {"b": "too small"})
    found = WhatIf("host", True, (one, slow), 5.0)
    assert one.best(0.5) == ("b", 55.0) and one.best(0.9) == ("a", 30.0) and one.best(0.7) is None
    at_half = found.recipe(0.5)
    assert {k: (v.pattern, v.sparsity) for k, v in at_half.layers.items()} == {"conv": ("b", 0.5)}
    assert set(found.recipe(0.9).layers) == {"conv", "other"} and "measured" in at_half.note
    assert found.total("b") == {0.0: 110.0, 0.5: 65.0, 0.9: 45.0}  # where it is refused the layer stays dense
    with pytest.raises(InputError, match=r"no pattern beats dense at 0\.7"):
        found.recipe(0.7)


def test_predicted_times_fall_and_models_stay() -> None:
    given = loaded()
    before = given.graph.initializers["w1"].const_value
    found = whatif(given, "rpi5", ("unstructured", "block:4x1", "nm:2:4", "taps:4"))
    assert found.source == "estimated" and found.fixed_us > 0
    assert given.graph.initializers["w1"].const_value is before
    (one,) = found.layers
    assert one.layer == "conv1" and set(found.dense) == {"conv0", "conv2"}
    assert list(one.curves["nm:2:4"]) == [0.0, 0.5] and len(one.curves["taps:4"]) == 2
    blocks = one.curves["block:4x1"]
    levels = sorted(blocks)
    assert all(blocks[a] >= blocks[b] for a, b in pairwise(levels))
    assert blocks[0.9] < 0.6 * one.dense_us == 0.6 * blocks[0.0]
    for pattern in one.curves:
        share = one.break_even(pattern)
        assert share is None or 0 < share < 1
    pointwise = whatif(loaded(8, 64, 64, 64, 16), "rpi5", ("taps:4",))
    assert "3x3" in pointwise.layers[1].refused["taps:4"]


def test_a_level_that_is_asked_for_is_looked_at() -> None:
    found = whatif(loaded(), "rpi5", ("block:4x1",), sparsity=0.85)
    assert 0.85 in found.layers[0].curves["block:4x1"]
    assert found.recipe(0.85).layers["conv1"].sparsity == 0.85


def test_plan_for_a_speedup_is_predicted_for_devices_that_are_not_here() -> None:
    found = plan_for_speedup(loaded(8, 64, 64, 64, 16), "rpi5", ("block:4x1",), 1.3)
    assert isinstance(found, LatencyPlan) and found.measured_ms is None and found.speedup >= 1.3


@pytest.mark.parametrize(
    ("patterns", "sparsity", "words"),
    [(("blocks",), None, "unknown pattern"), ((), None, "no patterns"), (("block:4x1",), 1.0, r"outside of \(0, 1\)")],
)
def test_options_that_cannot_be(patterns: tuple[str, ...], sparsity: float | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        whatif(loaded(), "rpi5", patterns, sparsity=sparsity)


def test_a_model_without_prunable_layers_says_why() -> None:
    with pytest.raises(InputError) as caught:
        whatif(ir.from_proto(linear()), "rpi5")
    assert "no layer can be pruned" in str(caught.value) and "fc: the classifier" in str(caught.value)
    bare = model([helper.make_node("Relu", ["x"], ["y"])], [f32("x", 1, 4)], [f32("y", 1, 4)])
    with pytest.raises(InputError, match="no constant weights"):
        whatif(ir.from_proto(bare), "rpi5")


# --- kernels that are run ---


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Kernels take as many microseconds as they keep thousands of weights; returns what was run."""
    ran: list[str] = []

    def measure(graph: object, call: object, candidate: object, *rest: object) -> float:
        ran.append(candidate.label)  # type: ignore[attr-defined]
        return float(candidate.binding.macs) / 1000  # type: ignore[attr-defined]

    monkeypatch.setenv("EDGESPARSE_TUNED", str(tmp_path / "tuned"))
    monkeypatch.setattr(module, "measure_alone", measure)
    return ran


def test_measured_times_are_those_of_kernels_and_kept(runs: list[str]) -> None:
    found = whatif(loaded(8, 64, 64, 64, 16), "rpi5", ("block:4x1",), measure=True)
    assert found.source == "measured" and set(found.layers[0].curves["block:4x1"]) == set(module.MEASURED_LEVELS)
    one = found.layers[1]
    assert one.dense_us == pytest.approx(64 * 64 * 196 / 1000)
    assert one.curves["block:4x1"][0.5] == pytest.approx(one.dense_us / 2)
    first = len(runs)
    assert first > 0
    again = whatif(loaded(8, 64, 64, 64, 16), "rpi5", ("block:4x1",), measure=True)
    assert len(runs) == first and again.layers == found.layers


def test_an_interrupted_call_goes_on_where_it_was(runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if "0.7" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whatif(loaded(), "rpi5", ("block:4x1",), measure=True, on_progress=stop)
    before = len(runs)
    assert before > 0
    whatif(loaded(), "rpi5", ("block:4x1",), measure=True)
    total = len(runs)
    runs.clear()
    assert total > before
    whatif(loaded(), "rpi5", ("block:4x1",), measure=True)
    assert not runs


# --- the picture and the command ---


def test_the_picture_has_a_panel_for_each_kind_of_layer() -> None:
    found = whatif(loaded(8, 64, 64, 64, 64, 16), "rpi5", ("unstructured", "block:4x1"))
    root = ElementTree.fromstring(svg(found, "a <model> & co"))
    words = ["".join(e.itertext()) for e in root.iter(f"{SVG}text")]
    assert words[0] == "a <model> & co on rpi5: time over sparsity, estimated"
    assert any(w.startswith("all layers") for w in words)
    assert len(list(root.iter(f"{SVG}g"))) == 1 + 3 - (1 if any("2 layers like" in w for w in words) else 0)
    for panel in root.iter(f"{SVG}g"):
        lines = list(panel.iter(f"{SVG}polyline"))
        assert len(lines) == 2 + 2  # dense and ideal, and one a pattern
        xs = [[float(p.split(",")[0]) for p in line.get("points", "").split()] for line in lines]
        assert all(x == sorted(x) for x in xs)
    page = html(found, "m")
    assert page.startswith("<!doctype html>") and svg(found, "m") in page and "http" not in page.replace(SVG[1:-1], "")


def test_long_names_are_cut_at_the_front() -> None:
    assert short("a/Relu;b/BatchNorm;c/conv2d/Conv2D1") == "c/conv2d/Conv2D1"
    cut = short("x" * 50 + "the_end")
    assert cut.startswith("…") and cut.endswith("the_end") and len(cut) == 44


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(proto(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_the_command_writes_recipe_and_picture(path: Path, call: Call) -> None:
    recipe, plot = path.with_name("r.json"), path.with_name("p.svg")
    common = ("whatif", path, "--device", "rpi5", "--patterns", "unstructured, block:4x1")
    code, out, err = call(*common, "--sparsity", "0.7", "--recipe", recipe, "--plot", plot)
    assert code == 0, err
    assert "estimated" in out and "block:4x1 from" in out and "dense, for it is the first convolution" in err
    assert read_recipe(recipe).layers["conv1"].pattern == "block:4x1"
    ElementTree.parse(plot)
    code, _, err = call(*common, "--sparsity", "0.7", "--recipe", recipe)
    assert code == 2 and "exists already" in err
    code, out, err = call(*common, "--speedup", "1.2", "--recipe", recipe, "--force", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["source"] == document["plan"]["source"] == "estimated" and document["written"] == [str(recipe)]
    (only,) = document["layers"]
    assert only["best"]["0.9"]["pattern"] == "block:4x1" and only["break_even"]["block:4x1"] > 0
    assert document["recipe"]["layers"] == json.loads(recipe.read_text())["layers"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--recipe", "r.json"), "a recipe needs --sparsity or --speedup"),
        (("--recipe", "r.json", "--sparsity", "0.5", "--speedup", "2"), "one of both"),
        (("--speedup", "2"), "--recipe recipe.json"),
        (("--plot", "p.png"), ".svg or .html"),
    ],
)
def test_options_of_the_command_that_do_not_go_together(
    path: Path, call: Call, options: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    code, _, err = call("whatif", path, "--device", "rpi5", *options)
    assert code == 2 and words in err
