"""The page of language models: it writes, tells what that costs, stops, refuses, works offline and for everybody."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgesparse.cli import app
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.model import InputRule
from edgesparse.demo_language import language_site
from edgesparse.demo_site import write_site
from tests.decoder.made import decoder, with_rules
from tests.runtimes.language_scripts import relaxed_flags, run
from tests.web import chromium, npm_install

from .demo_page import DESKTOP, PATIENCE_MS, PHONE, Opened, opened, plain, served

MORE = {"temperature": 8, "topP": 0.9, "maxTokens": 12, "seed": 1}
FIELDS = {"Temperature": "temperature", "Top-p": "topP", "Tokens at most": "maxTokens", "Seed": "seed"}
FOCUSED = """() => {
  const found = document.activeElement;
  return found.getAttribute("aria-label") ?? found.closest("label")?.textContent ?? found.textContent;
}"""
SMALL_TARGET_PX = 24  # WCAG 2.2, 2.5.8


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A dense one and one that skips inputs, of the same weights."""
    folder = tmp_path_factory.mktemp("models")
    model = decoder(vocabulary=256)
    sparse = with_rules(model, lambda site, inputs: InputRule("teal", 0.5, np.array([0.6], np.float32)))
    return [
        compile_decoder(one, "browser", folder / f"{name}.edge", weights="f32", break_even=1)
        for name, one in (("plain", model), ("skips", sparse))
    ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def url(bundles: list[Path]) -> Iterator[str]:
    with served(language_site(bundles)) as address:
        yield address


def fill(found: Opened, prompt: str, **more: float) -> None:
    found.page.get_by_label("Prompt").fill(prompt)
    for label, name in FIELDS.items():
        found.page.get_by_label(label, exact=True).fill(str({**MORE, **more}[name]))


def write(found: Opened) -> None:
    found.page.get_by_role("button", name="Write").click()
    ended(found)


def ended(found: Opened) -> None:
    found.wait("!document.querySelector('button.primary').disabled")


def texts(found: Opened) -> list[str]:
    return [str(text) for text in found.page.locator(".text").all_text_contents()]


def facts(found: Opened, card: int) -> dict[str, str]:
    place = found.page.locator(".texts article").nth(card)
    return dict(zip(place.locator("dt").all_inner_texts(), place.locator("dd").all_inner_texts(), strict=True))


def test_both_write_what_they_write_elsewhere(browser: Any, url: str, bundles: list[Path]) -> None:
    with opened(browser, url, viewport=DESKTOP) as found:
        fill(found, "abc")
        write(found)
        expected = [
            run(bundle, f"""
            const lm = await edge.loadHere({{ threads: 1 }});
            told((await written(lm, "abc", {json.dumps(MORE)})).text);
            """, *relaxed_flags())
            for bundle in bundles
        ]  # fmt: skip
        assert texts(found) == ["abc" + text for text in expected]
        first = texts(found)
        write(found)
        assert texts(found) == first
        fill(found, "abc", seed=2)
        write(found)
        assert texts(found) != first


def test_what_it_costs(browser: Any, url: str, bundles: list[Path]) -> None:
    with opened(browser, url, viewport=DESKTOP) as found:
        fill(found, "abcdefgh")
        write(found)
        for card, bundle in enumerate(bundles):
            said = facts(found, card)
            assert said["Speed"].endswith(" tokens/s") and float(said["Speed"].split()[0]) > 0
            assert said["Prompt"].startswith("8 tokens in ") and said["Tokens"] == "12"
            assert said["Ended by"] == "as many tokens as asked for" and said["Runs on"].endswith("worker")
            facts_of = json.loads((bundle / "manifest.json").read_text())["decoder"]
            all_bytes = facts_of["always_bytes"] + sum(s["unit_bytes"] * s["entries"] for s in facts_of["sites"])
            read = float(said["Weights read for a token"].split()[0]) * 1000
            assert read == pytest.approx(all_bytes, rel=0.01) if card == 0 else read < 0.9 * all_bytes
            cells = found.page.locator(".texts article").nth(card).locator("td").all_inner_texts()
            shares = [int(cell) for cell in cells]
            assert (
                len(shares) == 14 and all(s == 100 for s in shares) if card == 0 else all(0 < s < 100 for s in shares)
            )
        assert "as fast as the first" in found.text("form .state")
        found.page.get_by_label("Dense: leave nothing out").check()
        write(found)
        assert texts(found)[0] == texts(found)[1]


def test_it_stops(browser: Any, url: str) -> None:
    with opened(browser, url, viewport=DESKTOP) as found:
        found.page.get_by_label("Go on where the context is full").check()
        for stop in ("button", "key"):
            fill(found, "abc", maxTokens=1_000_000)
            found.page.get_by_role("button", name="Write").click()
            found.wait("document.querySelector('.text').textContent.length > 300")
            assert found.page.evaluate("document.activeElement.textContent") == "Stop"
            found.page.get_by_role("button", name="Stop").click() if stop == "button" else found.page.keyboard.press(
                "Escape"
            )
            ended(found)
            assert facts(found, 0)["Ended by"] == "stopped"
            assert found.page.evaluate("document.activeElement.textContent") == "Write"


def test_by_keyboard_alone(browser: Any, url: str) -> None:
    with opened(browser, url, viewport=DESKTOP) as found:
        fill(found, "abc")
        found.page.get_by_label("Prompt").focus()
        found.page.keyboard.press("Control+Enter")
        found.wait("document.querySelectorAll('.texts dd')[3].textContent === '12'")
        ended(found)
        seen = []
        found.page.get_by_label("Prompt").focus()
        for _ in range(12):
            found.page.keyboard.press("Tab")
            seen.append(found.page.evaluate(FOCUSED))
        assert seen[:8] == [
            *FIELDS,
            "Go on where the context is full",
            "Dense: leave nothing out",
            "Write",
            "Text of plain",
        ]


def test_what_is_refused_is_told(browser: Any, url: str) -> None:
    """And the page goes on."""
    with opened(browser, url, viewport=DESKTOP) as found:
        for prompt, words in (("", "the prompt is empty"), ("x" * 40, "the prompt has 40 tokens, the context is 32")):
            fill(found, prompt)
            write(found)
            assert words in found.text("#trouble")
        fill(found, "a<b>&amp;", seed=-1)
        found.page.get_by_role("button", name="Write").click()  # the browser itself refuses
        assert texts(found)[0].startswith("x")
        fill(found, "<b onclick=x>a</b>", maxTokens=30)
        write(found)
        assert texts(found)[0].startswith("<b onclick=x>a</b>") and found.page.locator(".text b").count() == 0
        assert facts(found, 0)["Ended by"] == "the context is full"


def test_an_export_works_offline(browser: Any, bundles: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "site"
    write_site(language_site(bundles[1:], export=True), out)
    context = browser.new_context()
    page = context.new_page()
    with plain(out) as address:
        page.goto(address)
        page.wait_for_selector("html[data-ready]", timeout=PATIENCE_MS)
        found = Opened(page, address)
        assert page.evaluate("crossOriginIsolated") is True
        fill(found, "abc")
        write(found)
        first = texts(found)
    context.set_offline(True)
    page.reload()
    page.wait_for_selector("html[data-ready]", timeout=PATIENCE_MS)
    fill(found, "abc")
    write(found)
    assert texts(found) == first and len(first[0]) > 3
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_everybody_can_use_it(
    browser: Any, url: str, scheme: str, size: dict[str, int], tmp_path: Path
) -> None:  # fmt: skip
    """By axe, and nothing wider than the screen, and nothing too small to be hit."""
    npm_install(tmp_path, "axe-core@4")
    axe = (tmp_path / "node_modules/axe-core/axe.min.js").read_text()
    with opened(browser, url, script=axe, viewport=size, color_scheme=scheme) as found:
        fill(found, "abc")
        write(found)
        told = found.page.evaluate("axe.run()")
        assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in told["violations"]] == []
        assert found.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        for box in found.page.locator("button, input, textarea").all():
            place = box.bounding_box()
            assert place["height"] >= SMALL_TARGET_PX or box.get_attribute("type") == "checkbox"


class TestCommand:
    def test_export(self, bundles: list[Path], tmp_path: Path) -> None:
        out = tmp_path / "site"
        done = CliRunner().invoke(app, ["demo", *map(str, bundles), "--export", str(out), "--json"])
        assert done.exit_code == 0, done.output
        assert {p.name for p in (out / "models").iterdir()} == {"0", "1"} and (out / "index.html").is_file()
        assert not list(out.rglob("*.c"))
        assert json.loads(done.stdout)["files"] == len([p for p in out.rglob("*") if p.is_file()])

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--race", "small"], "not for language models"),
            (["--sparsity", "0.5"], "not for language models"),
            (["0", "1"], "3 bundles"),
        ],
    )
    def test_what_does_not_fit(self, bundles: list[Path], tmp_path: Path, words: list[str], said: str) -> None:
        words = [str(bundles[int(w)]) if w in "01" else w for w in words]
        done = CliRunner().invoke(app, ["demo", str(bundles[0]), *words, "--export", str(tmp_path / "site")])
        assert done.exit_code != 0 and said in str(done.exception or done.output)

    def test_a_damaged_bundle(self, bundles: list[Path], tmp_path: Path) -> None:
        """Of which the page would show wrong texts."""
        bundle = shutil.copytree(bundles[0], tmp_path / "lm.edge")
        with (bundle / "weights.0.bin").open("r+b") as weights:
            weights.seek(100)
            weights.write(b"\xff")
        done = CliRunner().invoke(app, ["demo", str(bundle), "--export", str(tmp_path / "site")])
        assert "weights.0.bin is damaged" in str(done.exception or done.output) and not (tmp_path / "site").exists()

    def test_a_bundle_without_a_tokenizer(self, tmp_path: Path) -> None:
        bundle = compile_decoder(decoder(vocabulary=70), "browser", tmp_path / "lm.edge", weights="f32")
        done = CliRunner().invoke(app, ["demo", str(bundle), "--export", str(tmp_path / "site")])
        assert "no tokenizer" in str(done.exception or done.output) and not (tmp_path / "site").exists()

    def test_a_bundle_for_another_machine(self, tmp_path: Path) -> None:
        bundle = compile_decoder(decoder(vocabulary=256), "host", tmp_path / "lm.edge", weights="f32")
        done = CliRunner().invoke(app, ["demo", str(bundle), "--export", str(tmp_path / "site")])
        assert "not for browsers" in str(done.exception or done.output)
