"""The demo page in a real browser: digits are recognised, sparse wins, every build agrees with onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from edgesparse import demo
from edgesparse.demo_site import site
from tests.tiny_models import f32, model, numbers
from tests.web import chromium

from .demo_page import LABELS, PATIENCE_MS, PHONE, SIDE, THREE, classifier, opened, photo, recipe, served

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet, as everywhere
BUILDS = 4


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    classifier(folder / "own.onnx")
    photo(folder / "photo.png")
    return folder


@pytest.fixture(scope="module")
def networks(files: Path) -> list[Path]:
    return [demo.build(x) for x in (demo.digits(), demo.race("small"), recipe(files / "own.onnx"))]


@pytest.fixture(scope="module")
def url(networks: list[Path], files: Path) -> Iterator[str]:
    with served(site(networks, [files / "photo.png"])) as address:
        yield address


class TestDigits:
    def test_a_3_that_is_drawn(self, browser: Any, url: str) -> None:
        with opened(browser, url) as found:
            found.draw(THREE)
            assert found.says("3")
            best = found.page.locator(".answer .bars li:first-child").all_inner_texts()
            assert [x.split()[0] for x in best] == ["3", "3"] and all(float(x.split()[1][:-1]) > 50 for x in best)

    @pytest.mark.parametrize("scale", [0.35, 0.8])
    def test_it_may_be_small_and_anywhere(self, browser: Any, url: str, scale: float) -> None:
        with opened(browser, url) as found:
            found.draw([(0.05 + scale * x, 0.1 + scale * y) for x, y in THREE])
            assert found.says("3")

    def test_touch(self, browser: Any, url: str) -> None:
        with opened(browser, url, has_touch=True, viewport=PHONE) as found:
            pad = found.page.locator(".pad")
            pad.evaluate(
                """(pad, points) => {
                  const box = pad.getBoundingClientRect();
                  pad.setPointerCapture = () => {}; // there is no real finger to follow
                  points.forEach(([x, y], i) => pad.dispatchEvent(new PointerEvent(i ? "pointermove" : "pointerdown", {
                    pointerId: 7, pointerType: "touch", isPrimary: true, bubbles: true,
                    clientX: box.left + x * box.width, clientY: box.top + y * box.height })));
                  pad.dispatchEvent(new PointerEvent("pointerup", { pointerId: 7, bubbles: true }));
                }""",
                THREE,
            )
            assert found.says("3")

    def test_keys(self, browser: Any, url: str) -> None:
        """A 1, without a mouse; Delete takes it away."""
        with opened(browser, url) as found:
            found.page.locator(".pad").focus()
            for key in ["Space", *["ArrowDown"] * 9, "Space"]:
                found.page.keyboard.press(key)
            assert found.says("1")
            found.page.keyboard.press("Delete")
            found.wait("document.querySelector('.big').textContent === '–'")

    def test_strokes_do_not_change_the_address(self, browser: Any, url: str) -> None:
        """Which Safari allows a hundred times in ten seconds, and then throws."""
        script = """
        window.changes = 0;
        history.replaceState = () => { changes++; throw new DOMException("too often", "SecurityError"); };
        """
        with opened(browser, url, script=script) as found:
            found.draw(THREE)
            assert found.says("3") and found.page.evaluate("changes") == 0
            found.page.get_by_label("Test image of a 7").click()
            assert found.says("7") and found.page.evaluate("changes") == 1

    def test_images_of_the_test_set(self, browser: Any, url: str) -> None:
        with opened(browser, url) as found:
            for digit in range(10):
                found.page.locator(f"[data-digit='{digit}']").click()
                found.wait(f"[...document.querySelectorAll('.big')].every((x) => x.textContent === '{digit}')")
            assert found.page.url.endswith("#digit=9")

    def test_strokes_are_counted_as_in_the_data_set(self, browser: Any, url: str) -> None:
        """Beside NumPy: pixels of 32 x 32 near a line as high as the image, counted in blocks of 4 x 4."""
        line = np.array([[0.2, 0.3], [0.4, 0.9]])
        with opened(browser, url) as found:
            script = "async (line) => [...(await import('/strokes.mjs')).toImage([line], 1)]"
            given = np.array(found.page.evaluate(script, line.tolist())).reshape(8, 8)
        a, b = (line - [0.3, 0.6]) * (32 - 5.2) / 0.6 + 16
        y, x = np.mgrid[:32, :32] + 0.5
        along = np.clip(((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / ((b - a) ** 2).sum(), 0, 1)
        near = np.hypot(x - a[0] - along * (b - a)[0], y - a[1] - along * (b - a)[1]) <= 2.6
        assert np.array_equal(given, near.reshape(8, 4, 8, 4).sum(axis=(1, 3)) / 16)


class TestRace:
    def test_sparse_is_faster(self, browser: Any, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        with opened(browser, url, "tab=race&run=1", permissions=["clipboard-read", "clipboard-write"]) as found:
            found.page.wait_for_selector(".headline strong", timeout=PATIENCE_MS)
            with found.page.expect_download() as download:
                found.page.get_by_role("button", name="Download JSON").click()
            result = json.loads(Path(download.value.path()).read_text())
            found.page.get_by_role("button", name="Copy as Markdown").click()
            found.wait("document.querySelector('#panel-race .note').textContent === 'Markdown copied'")
            markdown = str(found.page.evaluate("navigator.clipboard.readText()"))
            layers = found.page.locator(".layers tbody tr").count()
            shown = found.page.locator(".race tbody tr").all_inner_texts()
        rows = {row["id"]: row for row in result["variants"]}
        dense, sparse = rows["dense"], rows["block-4x1-90"]
        with capsys.disabled():
            print(f"\n90% block:4x1 in Chromium: {dense['ms'] / sparse['ms']:.2f} times as fast as dense")
        assert sparse["ms"] < dense["ms"] and sparse["speed_up"] == pytest.approx(dense["ms"] / sparse["ms"])
        assert len(rows) == 7 and len(shown) == 7
        for row in rows.values():
            assert row["difference"]["relative"] < 1e-4 and row["runs"] > 0 and row["threads"] == 1
            assert sum(layer["ms"] for layer in row["layers"]) > 0
        assert sparse["weights_bytes"] < dense["weights_bytes"]
        assert sparse["macs"] < 0.4 * dense["macs"]
        # all that was shown is in the text, which is a table
        lines = [x for x in markdown.splitlines() if x.startswith("|")]
        assert len(lines) == 2 + 7 and len({line.count("|") for line in lines}) == 1
        assert "| dense | " in markdown and "| 90% block:4x1 | " in markdown and result["url"] in markdown
        assert layers == len(dense["layers"])
        assert result["url"].endswith("#tab=race&run=1") and result["environment"]["cross_origin_isolated"] is True

    def test_the_address_restores_everything(self, browser: Any, url: str) -> None:
        settings = "tab=race&relaxed=off&seconds=3&threads=all"
        with opened(browser, url, settings) as found:
            checked = found.page.locator("#panel-race input:checked").evaluate_all("(all) => all.map((x) => x.value)")
            cores = found.page.evaluate("navigator.hardwareConcurrency")
            assert checked == ["all" if cores > 1 else "1", "off", "3"]
            found.page.get_by_label("10 s").check(force=True)
            assert "seconds=10" in found.page.url
            found.page.locator("#tab-draw").click()
            found.page.wait_for_selector(".samples button", timeout=PATIENCE_MS)
            found.page.reload()
            found.page.wait_for_selector("#panel-draw:not([hidden]) .samples button", timeout=PATIENCE_MS)
            found.page.locator("#tab-race").click()
            assert found.page.get_by_label("10 s").is_checked()

    @pytest.mark.parametrize("allowed", [True, False])
    def test_a_link_is_copied_or_can_be(self, browser: Any, url: str, allowed: bool) -> None:
        script = """
        const clipboard = { writeText: async () => { if (!ALLOWED) throw new DOMException("no", "NotAllowedError"); } };
        Object.defineProperty(navigator, "clipboard", { value: clipboard });
        """
        with opened(browser, url, "tab=race", script=script.replace("ALLOWED", str(allowed).lower())) as found:
            found.page.get_by_role("button", name="Copy link").first.click()
            found.wait("document.querySelector('#said').textContent")
            assert (found.text("#said") == "Link copied") == allowed
            assert found.page.get_by_label("Link", exact=True).count() == (not allowed)

    def test_it_can_be_stopped(self, browser: Any, url: str) -> None:
        with opened(browser, url, "tab=race&seconds=10&run=1") as found:
            found.page.get_by_role("button", name="Stop").click()
            found.page.get_by_role("button", name="Start the race").wait_for()
            found.page.wait_for_timeout(500)  # what was on its way has arrived
            assert found.page.locator(".headline").is_hidden()

    def test_it_ends_when_its_tab_is_left(self, browser: Any, url: str) -> None:
        with opened(browser, url, "tab=race&seconds=10&run=1") as found:
            found.page.get_by_role("button", name="Stop").wait_for()
            found.page.locator("#tab-draw").click()
            found.page.locator("#tab-race").click()
            found.page.get_by_role("button", name="Start the race").wait_for()
            assert found.page.locator(".headline").is_hidden()

    def test_relaxed_off_is_what_runs(self, browser: Any, url: str) -> None:
        with opened(browser, url, "tab=race&relaxed=off&seconds=0.1&run=1") as found:
            found.page.wait_for_selector(".headline strong", timeout=PATIENCE_MS)
            assert found.text("#panel-race .state").startswith("SIMD128, 1 thread, worker")


class TestYours:
    @pytest.mark.parametrize("scale", ["imagenet", "unit", "signed", "raw"])
    def test_answers_are_those_of_onnxruntime(self, browser: Any, url: str, files: Path, scale: str) -> None:
        """For an image of the very size, prepared by NumPy; hostile names of classes are text."""
        pixels = photo(files / "again.png").astype(np.float64)
        prepared = {
            "imagenet": (pixels / 255 - MEAN) / DEVIATION, "unit": pixels / 255, "signed": pixels / 127.5 - 1,
            "raw": pixels,
        }[scale]  # fmt: skip
        session = ort.InferenceSession(str(files / "own.onnx"), providers=["CPUExecutionProvider"])
        image = prepared.transpose(2, 0, 1)[None].astype(np.float32)
        (logits,) = session.run(None, {"image": image})
        raised = np.exp(logits[0].astype(np.float64) - logits.max())
        shares = raised / raised.sum()
        wanted = [LABELS[i] for i in np.argsort(-shares, kind="stable")[:5]]
        with opened(browser, url, f"tab=yours&scale={scale}&sample=samples/1.png") as found:
            found.wait("document.querySelector('#panel-yours .dense .share')?.textContent")
            dense = found.page.locator("#panel-yours .dense .bars li")
            assert dense.locator(".name").all_inner_texts() == wanted
            given = [float(x[:-1]) / 100 for x in dense.locator(".share").all_inner_texts()]
            assert given == pytest.approx(sorted(shares, reverse=True)[:5], abs=6e-4)
            assert found.page.evaluate("window.hacked") is None
            assert found.page.locator("#panel-yours .sparse .name").first.inner_text() in LABELS

    def test_pixels(self, browser: Any, url: str, files: Path) -> None:
        """Channels last, blue first, grey, and bytes, beside NumPy."""
        with opened(browser, url) as found:
            script = """async ({ shape, dtype, scale, order }) => {
              const { toInput, fitted } = await import("/picture.mjs");
              const image = new Image();
              image.src = "/samples/1.png";
              await image.decode();
              const canvas = document.createElement("canvas");
              fitted(canvas, image, { height: 16, width: 16 }, "crop");
              return [...toInput(canvas, { shape, dtype }, scale, order)];
            }"""

            def given(shape: list[int], dtype: str, scale: str, order: str) -> Any:
                chosen = {"shape": shape, "dtype": dtype, "scale": scale, "order": order}
                return np.array(found.page.evaluate(script, chosen)).reshape(shape)

            last = given([1, SIDE, SIDE, 3], "u8", "unit", "rgb")
            first = given([1, 3, SIDE, SIDE], "f32", "raw", "bgr")
            grey = given([1, 1, SIDE, SIDE], "f32", "unit", "rgb")
        pixels = photo(files / "again.png")
        assert np.array_equal(last[0], pixels)
        assert np.array_equal(first[0], pixels[..., ::-1].transpose(2, 0, 1))
        assert grey[0, 0] == pytest.approx(pixels @ np.array([0.299, 0.587, 0.114]) / 255, abs=1e-6)

    def test_measured(self, browser: Any, url: str) -> None:
        with opened(browser, url, "tab=yours&run=1") as found:
            found.wait("/ as fast as /.test(document.querySelector('#panel-yours .state')?.textContent)")
            with found.page.expect_download() as download:
                found.page.get_by_role("button", name="Download JSON").click()
            result = json.loads(Path(download.value.path()).read_text())
        assert [row["id"] for row in result["variants"]] == ["dense", "block-4x1-90"]
        assert result["dense_again"] > 0  # the first network was timed once more at the end
        assert all(row["difference"]["relative"] < 1e-4 for row in result["variants"])

    def test_what_was_measured_of_another_network_is_taken_away(self, browser: Any, url: str) -> None:
        with opened(browser, url, "tab=yours&run=1") as found:
            found.wait("/ as fast as /.test(document.querySelector('#panel-yours .state')?.textContent)")
            assert found.text("#panel-yours .sparse .facts dd") != "–"
            found.page.locator("#panel-yours .field select").last.select_option("block-4x1-50")
            facts = found.page.locator("#panel-yours .sparse .facts dd").all_inner_texts()
            assert (facts[0], facts[2]) == ("–", "–") and found.text("#panel-yours .state") == ""
            assert found.page.get_by_role("button", name="Download JSON").is_disabled()
            assert found.page.locator("#panel-yours .sparse .answer-top .faint").inner_text() == "50% block:4x1"

    def test_the_camera_is_off_where_nobody_looks(self, browser: Any, url: str) -> None:
        """When another part of the page is looked at, and when it was asked for twice before it was allowed."""
        script = """
        window.tracks = [];
        Object.defineProperty(navigator, "mediaDevices", { value: { getUserMedia: async () => {
          await new Promise((wake) => setTimeout(wake, 300));
          const canvas = document.createElement("canvas");
          canvas.getContext("2d");
          const stream = canvas.captureStream(10);
          setInterval(() => canvas.getContext("2d").fillRect(0, 0, 9, 9), 50);
          tracks.push(...stream.getTracks());
          return stream;
        } } });
        """
        live = "tracks.filter((track) => track.readyState === 'live').length"
        with opened(browser, url, "tab=yours", script=script) as found:
            button = found.page.get_by_role("button", name="Use the camera")
            button.click()
            button.click()
            found.wait(f"tracks.length === 2 && {live} === 1")
            found.page.get_by_role("button", name="Stop the camera").wait_for(timeout=PATIENCE_MS)
            found.page.locator("#tab-draw").click()
            found.wait(f"{live} === 0")

    def test_outputs_that_are_no_scores(self, browser: Any, files: Path) -> None:
        """A mask has no best class; none is made up."""
        nodes = [
            helper.make_node("Conv", ["image", "a"], ["x"], pads=[1] * 4, kernel_shape=[3, 3]),
            helper.make_node("Conv", ["x", "b"], ["y"], kernel_shape=[1, 1]),
            helper.make_node("Conv", ["y", "c"], ["mask"], kernel_shape=[1, 1]),
        ]
        weights = {"a": numbers(32, 3, 3, 3), "b": numbers(32, 32, 1, 1), "c": numbers(4, 32, 1, 1)}
        shape = (1, 3, SIDE, SIDE)
        masks = model(nodes, [f32("image", *shape)], [f32("mask", 1, 4, SIDE, SIDE)], weights)
        onnx.save(masks, files / "mask.onnx")
        content = site([demo.build(recipe(files / "mask.onnx", ()))], [files / "photo.png"])
        with served(content) as address, opened(browser, address, "tab=yours&sample=samples/1.png") as found:
            found.wait("document.querySelector('#panel-yours .dense .facts dd')?.textContent.endsWith(', once')")
            assert "mask: 1×4×16×16 f32" in found.text("#panel-yours .no-scores")
            assert set(found.page.locator("#panel-yours .bars .name").all_inner_texts()) == {"–"}

    def test_without_a_model_it_says_how(self, browser: Any, networks: list[Path]) -> None:
        with served(site(networks[:1])) as address, opened(browser, address, "tab=yours") as found:
            assert "edgesparse demo model.onnx" in found.text("#panel-yours pre")


class TestVerify:
    def test_every_build(self, browser: Any, url: str) -> None:
        with opened(browser, url, "tab=verify&run=1") as found:
            found.page.wait_for_selector("#panel-verify button:enabled", timeout=PATIENCE_MS)
            results = found.page.locator("[data-result]").evaluate_all("(all) => all.map((x) => x.dataset.result)")
            assert results == ["passed"] * BUILDS * (2 + 7 + 3)

    def test_what_is_wrong_fails(self, browser: Any, networks: list[Path], files: Path) -> None:
        """Answers that are not onnxruntime's: the button must not pass everything."""
        content = dict(site(networks[:1]))
        name = "networks/digits/dense/expected-0.bin"
        path = content[name]
        assert isinstance(path, Path)
        wrong = np.fromfile(path, np.float32)
        wrong[37] += 0.01
        content[name] = wrong.tobytes()
        with served(content) as address, opened(browser, address, "tab=verify&run=1") as found:
            found.page.wait_for_selector("#panel-verify button:enabled", timeout=PATIENCE_MS)
            results = found.page.locator("[data-result]").evaluate_all("(all) => all.map((x) => x.dataset.result)")
        assert results == ["failed"] * BUILDS + ["passed"] * BUILDS
