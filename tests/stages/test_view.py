"""`view`: one HTML file that needs no network, shows every layer, and takes names for what they are: text."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from PIL import Image

import edgesparse as es
from edgesparse.compiled import compiled
from edgesparse.heatmap import ZERO, heatmap, palette
from edgesparse.layered import GAP, layered
from edgesparse.types import Array
from edgesparse.view import view
from tests.conftest import PROJECT
from tests.tiny_models import f32, model, numbers
from tests.web import chromium

from .conftest import Call

DIGITS = PROJECT / "examples" / "digits.onnx"
HOSTILE = '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">&quot;\'"<!--%%DATA%%'


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts.append(data)

    def of(self, tag: str, name: str | None = None) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag and (name is None or a.get("class") == name)]

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found


def residual(name: str = "conv") -> onnx.ModelProto:
    """x -> a -> b -> add(a's output), and a second head; half of the weights of b are zero."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], f"{name}_a"),
        helper.make_node("Sigmoid", ["a"], ["s"], f"{name}_s"),
        helper.make_node("Conv", ["s", "v"], ["b"], f"{name}_b"),
        helper.make_node("Add", ["a", "b"], ["y"], f"{name}_c"),
        helper.make_node("Softmax", ["y"], ["z"], f"{name}_z"),
    ]
    second = numbers(8, 8, 1, 1, seed=1)
    second[:4] = 0
    weights = {"w": numbers(8, 8, 1, 1), "v": second}
    return model(nodes, [f32("x", 1, 8, 4, 4)], [f32("y", 1, 8, 4, 4), f32("z", 1, 8, 4, 4)], weights)


def page_of(proto: onnx.ModelProto, folder: Path, device: str = "host") -> Page:
    onnx.save(proto, folder / "m.onnx")
    return Page(view(folder / "m.onnx", device))


def test_nothing_comes_from_outside(tmp_path: Path) -> None:
    onnx.save(residual(), tmp_path / "m.onnx")
    text = view(tmp_path / "m.onnx")
    page = Page(text)
    assert not re.search(r"https?:|//\w+\.\w|@import|url\(", text)
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not {"href", "srcset", "xlink:href", "action"} & set(attributes)
        assert not any(key.startswith("on") for key in attributes), "the policy would not run it"
        assert (attributes.get("src") or "data:").startswith("data:")
    (policy,) = [a["content"] or "" for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_every_layer_is_a_node_and_every_tensor_an_edge(tmp_path: Path) -> None:
    page = page_of(residual(), tmp_path)
    layers = compiled(tmp_path / "m.onnx").layers
    assert len(page.of("g", "node")) == len(layers) == len(page.data["layers"])
    assert [a["data-layer"] for a in page.of("g", "node")] == [str(k) for k in range(len(layers))]
    assert len(page.of("g", "port")) == 3
    reads = [(x.op, x.reads, x.writes) for x in layers]
    assert reads[0][1] == ("x",) and "y" in [w for _, _, writes in reads for w in writes]
    edges = sum(len(r) for _, r, _ in reads) + 2  # and to both outputs
    assert len(page.of("path", "edge")) == edges
    assert page.data["layers"][0]["heat"] is not None


@pytest.mark.parametrize("name", ["ultraface/version-RFB-320.onnx", "resnet8/resnet8_cifar10.onnx"])
def test_what_a_layer_reads_was_written_before(name: str, data_dir: Path) -> None:
    """Through concatenations, views and residuals; and what nobody reads is an output."""
    found = compiled(data_dir / name)
    written, read = set(found.inputs), set()
    for layer in found.layers:
        assert layer.reads and set(layer.reads) <= written and layer.writes
        written |= set(layer.writes)
        read |= set(layer.reads)
    assert written - read == set(found.outputs) - read and set(found.outputs) <= written


def test_facts_are_those_of_explain(tmp_path: Path) -> None:
    page = page_of(residual(), tmp_path, device="rpi5")
    found = es.explain(compiled(tmp_path / "m.onnx", "rpi5").layers)
    for layer, verdict in zip(page.data["layers"], found, strict=True):
        facts = dict(layer["facts"])
        assert facts["kernel"] == verdict.kernel and layer["name"] == verdict.layer
        if verdict.pattern:
            assert facts["zeros"].startswith(f"{verdict.zeros:.1%}")
        if verdict.us:
            assert facts["time"].startswith(f"{verdict.us:.4g} ") and "estimated" in facts["time"]
    half = next(x for x in page.data["layers"] if "50.0%" in dict(x["facts"]).get("zeros", ""))
    assert dict(half["facts"])["kind"] in ("skips zeros", "has zeros, but a dense kernel is faster")


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    proto = residual(HOSTILE)
    onnx.save(proto, tmp_path / "m.onnx")
    graph = es.load(tmp_path / "m.onnx")
    graph.graph.name = HOSTILE
    text = view(graph)
    page = Page(text)
    plain = page_of(residual(), tmp_path)
    assert [t for t, _ in page.elements] == [t for t, _ in plain.elements], "no element came from a name"
    assert text.count("<script") == 2 == len(page.scripts)
    assert any(HOSTILE in layer["name"] for layer in page.data["layers"]), "and the name is there, whole"


def test_a_bundle_and_its_model_look_the_same(tmp_path: Path) -> None:
    bundle = es.compile(es.load(DIGITS), "host", tmp_path / "digits.edge")
    assert view(bundle) == view(DIGITS, "host")


def test_a_mobilenet_is_small(tmp_path: Path, data_dir: Path) -> None:
    text = view(data_dir / "vww" / "vww_96.onnx")
    assert 20_000 < len(text) < 1_000_000
    assert len(Page(text).of("g", "node")) > 20


def test_f16_shows_what_stays_f32(data_dir: Path) -> None:
    page = Page(view(data_dir / "kws" / "kws_ref_model.onnx", "pixel-8", "f16"))
    kinds = {dict(x["facts"])["operation"]: dict(x["facts"])["kind"] for x in page.data["layers"]}
    assert "f32" in kinds["softmax"] and "f32" not in kinds["spmm"]


# -- pictures of weights ----------------------------------------------------------------------------------------------


def pixels(uri: str) -> Array:
    found: Array = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))
    return found


def test_zeros_are_red_and_nothing_else_is() -> None:
    weight = np.abs(numbers(12, 5, 1, 3)) + 0.1
    weight[3:6, 2] = 0
    made = heatmap(weight)
    red = (pixels(made.magnitude) == ZERO).all(axis=2)
    assert made.cells == (12, 15) == red.shape and made.block == (1, 1)
    assert (red == (weight.reshape(12, 15) == 0)).all() and (red == (pixels(made.zeros) == ZERO).all(axis=2)).all()
    assert not (palette()[1:] == ZERO).all(axis=1).any()


def test_large_weights_are_means_of_blocks() -> None:
    weight = np.zeros((300, 130), np.float32)
    weight[:3, :2] = 0.5  # one cell
    weight[297:, 128:] = 1  # the last one
    weight[3, 0] = -1e-6  # not zero, however small
    made = heatmap(weight)
    assert made.cells == (100, 65) and made.block == (3, 2) and made.largest == 1
    found = pixels(made.magnitude).astype(int)
    assert (found[0, 1] == ZERO).all() and not (found[1, 0] == ZERO).all()
    assert found[99, 64].sum() < found[0, 0].sum() < found[1, 0].sum(), "larger is darker"
    share = pixels(made.zeros).astype(int)
    assert share[0, 0].sum() < share[1, 0].sum(), "fewer zeros are darker"


def test_pictures_of_odd_weights() -> None:
    for weight in (np.zeros((2, 3, 1)), np.full((1, 1, 1), np.nan), np.array([[[np.inf, 1]]]), np.ones((1, 4000, 1))):
        made = heatmap(weight)
        assert pixels(made.magnitude).shape == (*made.cells, 3) and max(made.cells) <= 128


# -- the drawing ------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 25), st.data())
def test_nodes_lie_below_what_they_read_and_do_not_touch(count: int, data: st.DataObject) -> None:
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda p: p[0] < p[1])
    edges = data.draw(st.lists(pairs, max_size=40, unique=True)) if count > 1 else []
    widths = data.draw(st.lists(st.floats(10, 300), min_size=count, max_size=count))
    lay = layered(count, edges, widths)
    assert len(lay.nodes) == count and len(lay.edges) == len(edges)
    for (a, b), path in zip(edges, lay.edges, strict=True):
        assert lay.nodes[a] == path[0] and lay.nodes[b] == path[-1]
        assert [row for _, row in path] == list(range(lay.nodes[a][1], lay.nodes[b][1] + 1))
    bends = [(x, row, 0.0) for path in lay.edges for x, row in path[1:-1]]
    boxes = [(x, row, w) for (x, row), w in zip(lay.nodes, widths, strict=True)]
    for k, (x, row, w) in enumerate(boxes):
        assert lay.left - 1e-6 <= x - w / 2 and x + w / 2 <= lay.right + 1e-6
        for other, at, wide in [*boxes[k + 1 :], *bends]:
            if row == at:
                assert abs(x - other) >= (w + wide) / 2 + GAP / 2 - 1e-6


def test_a_chain_is_straight() -> None:
    lay = layered(4, [(0, 1), (1, 2), (2, 3)], [100, 50, 200, 10])
    assert {x for x, _ in lay.nodes} == {0.0} and [row for _, row in lay.nodes] == [0, 1, 2, 3]


# -- the command, and a browser ---------------------------------------------------------------------------------------


def test_the_command(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("view", DIGITS, "-o", "v.html")
    assert code == 0 and "wrote v.html" in out
    assert Page((tmp_path / "v.html").read_text()).of("g", "node")
    assert call("view", DIGITS, "-o", "v.html")[0] == 2, "nothing is replaced without --force"
    code, out, _ = call("view", DIGITS, "-o", "v.html", "--force", "--json", "--device", "rpi5")
    assert code == 0 and json.loads(out)["device"] == "rpi5"
    assert call("view", "none.onnx", "-o", "w.html")[0] == 2 and not (tmp_path / "w.html").exists()


def test_in_chromium(tmp_path: Path) -> None:
    onnx.save(residual(HOSTILE), tmp_path / "m.onnx")
    (tmp_path / "v.html").write_text(view(tmp_path / "m.onnx"))
    said: list[str] = []
    asked: list[str] = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "v.html").as_uri())
        before = [node.get_attribute("fill") for node in page.query_selector_all(".node rect")]
        page.click("button[data-mode=zeros]")
        after = [node.get_attribute("fill") for node in page.query_selector_all(".node rect")]
        page.click(".node[data-layer='0']")
        assert HOSTILE in page.inner_text("aside h2") and page.query_selector_all("img.heat")
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert page.evaluate("document.documentElement.scrollWidth <= 1366"), "fits the screen of a laptop"
        assert page.evaluate("window.hacked") is None
    assert before != after and None not in before
    assert not said and all(url.startswith(("file:", "data:")) for url in asked)
