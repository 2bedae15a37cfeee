"""The demo page wherever it is hosted and however it is read: exported, offline, on a phone, in the dark, by axe."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from edgesparse import demo
from edgesparse.demo_site import site, write_site
from tests.web import chromium, npm_install

from .demo_page import (
    DESKTOP,
    PATIENCE_MS,
    PHONE,
    THREE,
    Opened,
    classifier,
    opened,
    photo,
    plain,
    recipe,
    served,
    until,
)

TABS = ("draw", "race", "yours", "verify")
BUILDS = 4
SMALL_TARGET_PX = 24  # WCAG 2.2, 2.5.8


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def networks() -> list[Path]:
    return [demo.build(x) for x in (demo.digits(), demo.race("small"))]


@pytest.fixture(scope="module")
def url(networks: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("demo")
    classifier(folder / "own.onnx")
    photo(folder / "photo.png")
    own = demo.build(recipe(folder / "own.onnx", [f"class of number {i}" for i in range(12)]))
    with served(site([*networks, own], [folder / "photo.png"])) as address:
        yield address


@pytest.fixture(scope="module")
def export(networks: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "site"
    write_site(site(networks, export=True), out)
    return out


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("axe")
    npm_install(folder, "axe-core@4")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


def filled(found: Opened, tab: str) -> None:
    """Go to the tab, and have it show all that it can."""
    run = "&seconds=0.1&run=1" if tab in ("race", "verify") else ""
    found.go(f"tab={tab}{run}" + ("&sample=samples/1.png" if tab == "yours" else ""))
    if tab == "draw":
        found.page.wait_for_selector(".samples button", timeout=PATIENCE_MS)
        found.draw(THREE)
        assert found.says("3")
    elif tab == "race":
        found.page.wait_for_selector(".headline strong", timeout=PATIENCE_MS)
    elif tab == "yours":
        found.wait("document.querySelector('#panel-yours .dense .share')?.textContent")
    else:
        found.page.wait_for_selector("#panel-verify button:enabled", timeout=PATIENCE_MS)


class TestExport:
    def test_threads_by_the_service_worker(self, browser: Any, export: Path) -> None:
        """From Python's http.server, which sends neither COOP nor COEP: all four builds run and agree."""
        with plain(export) as address, opened(browser, address) as found:
            assert found.page.evaluate("crossOriginIsolated") is True
            found.go("tab=verify&run=1")
            found.page.wait_for_selector("#panel-verify button:enabled", timeout=PATIENCE_MS)
            results = found.page.locator("[data-result]").evaluate_all("(all) => all.map((x) => x.dataset.result)")
            assert results == ["passed"] * BUILDS * (2 + 7)

    def test_offline_after_the_first_visit(self, browser: Any, export: Path) -> None:
        context = browser.new_context()
        page = context.new_page()
        with plain(export) as address:
            page.goto(address)
            page.get_by_text("It works offline now").wait_for(timeout=PATIENCE_MS)
        # the server is gone
        page.goto(f"{address}#tab=race&seconds=0.1&run=1")
        page.reload()
        page.wait_for_selector(".headline strong", timeout=PATIENCE_MS)
        page.goto(f"{address}?from=a%20friend#digit=7")
        page.wait_for_selector(".samples button", timeout=PATIENCE_MS)
        page.locator(".big", has_text="7").first.wait_for(timeout=PATIENCE_MS)
        context.close()

    def test_a_newer_export_replaces_the_older(self, browser: Any, networks: list[Path], tmp_path: Path) -> None:
        """At the same address, once no page of the older one is open; what that kept is deleted."""
        out = tmp_path / "site"
        write_site(site(networks[:1], export=True), out)
        with plain(out) as address, opened(browser, address) as found:
            page = out / "index.html"
            page.write_text(page.read_text().replace("<h1>edgesparse", "<h1>edgesparse 2"))
            worker = out / "service-worker.js"
            worker.write_text(worker.read_text().replace('VERSION = "', 'VERSION = "2'))
            found.page.evaluate("navigator.serviceWorker.ready.then((one) => one.update())")
            found.wait("navigator.serviceWorker.getRegistration().then((one) => one.waiting?.state === 'installed')")
            names = found.page.evaluate("caches.keys()")  # what the page that is open may still ask for is there
            assert [" 2" in name for name in sorted(names) if name.startswith("edgesparse-demo")].count(False) == 1
            assert found.page.evaluate("fetch('app.mjs').then((one) => one.text())").startswith("// The page")
            found.page.goto("about:blank")
            found.page.wait_for_timeout(1000)  # the newer one takes over
            found.go()
            assert found.text("h1") == "edgesparse 2"
            (kept,) = (name for name in found.page.evaluate("caches.keys()") if name.startswith("edgesparse-demo"))
            assert " 2" in kept

    def test_without_a_service_worker_it_says_what_is_off(self, browser: Any, export: Path) -> None:
        no_worker = "delete Navigator.prototype.serviceWorker"
        with plain(export) as address, opened(browser, address, "tab=race", script=no_worker) as found:
            assert found.page.evaluate("crossOriginIsolated") is False
            assert "crossOriginIsolated is false" in found.text("#environment")
            assert found.page.locator("input[name=threads][value=all]").is_disabled()
            assert "crossOriginIsolated is false" in found.text("#panel-race .choice .why")
            found.go("tab=verify&run=1")
            found.page.wait_for_selector("#panel-verify button:enabled", timeout=PATIENCE_MS)
            results = found.page.locator("[data-result]").evaluate_all("(all) => all.map((x) => x.dataset.result)")
            assert results == ["passed", "skipped"] * 2 * (2 + 7)
            assert "cannot run here" in found.text("#panel-verify .state")

    def test_a_server_where_an_export_was_before(self, browser: Any, networks: list[Path], export: Path) -> None:
        """What the export kept answers first, and then no longer."""
        context = browser.new_context()
        page = context.new_page()
        with plain(export) as address:
            page.goto(address)
            page.get_by_text("It works offline now").wait_for(timeout=PATIENCE_MS)
        with served(site(networks[:1]), urlsplit(address).port):
            page.goto(address)
            page.locator("html[data-ready] #about", has_not_text="offline").wait_for(timeout=PATIENCE_MS)
            # the export's page may have registered the worker that retires it once more, which retires in its turn
            gone = "navigator.serviceWorker.getRegistrations().then((all) => all.length === 0)"
            until(page, gone)
            only = "caches.keys().then((all) => all.join() === 'edgesparse')"  # bundles of the page that is there now
            until(page, only)
            page.evaluate("caches.open('edgesparse-demo late')")  # as by the export's worker, keeping one file more
            page.reload()
            until(page, only)
        context.close()

    def test_others_at_the_same_host_are_left_alone(self, browser: Any, export: Path, tmp_path: Path) -> None:
        """What is not of the page comes from the host each time, with the headers of the host."""
        shutil.copytree(export, tmp_path / "site")
        (tmp_path / "site/blog").mkdir()
        other = tmp_path / "site/blog/news.txt"
        ask = """fetch('blog/news.txt', { cache: 'no-store' }).then(async (r) => [
            await r.text(), r.headers.get('Cross-Origin-Opener-Policy')])"""
        with plain(tmp_path / "site") as address, opened(browser, address) as found:
            for text in ("old", "new"):
                other.write_text(text)
                assert found.page.evaluate("Boolean(navigator.serviceWorker.controller)")
                assert found.page.evaluate(ask) == [text, None]

    def test_beneath_a_path(self, browser: Any, export: Path) -> None:
        with plain(export.parent) as address, opened(browser, f"{address}site/") as found:
            found.draw(THREE)
            assert found.says("3")


class TestAccess:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize(("name", "viewport"), [("desktop", DESKTOP), ("phone", PHONE)])
    def test_every_tab(
        self, browser: Any, url: str, axe: str, tmp_path: Path, name: str, viewport: dict[str, int], scheme: str
    ) -> None:
        """axe finds nothing serious, nothing is wider than the window, what is pressed is large enough. Pictures are
        left to look at."""
        with opened(browser, url, color_scheme=scheme, viewport=viewport, reduced_motion="reduce") as found:
            for tab in TABS:
                filled(found, tab)
                assert found.page.evaluate("document.documentElement.dataset.theme") == scheme
                found.page.evaluate(axe)
                result = found.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
                bad = [(v["id"], v["impact"], [n["html"][:200] for n in v["nodes"]]) for v in result["violations"]]
                assert [x for x in bad if x[1] in ("serious", "critical")] == [], tab
                found.page.screenshot(path=tmp_path / f"{tab}-{name}-{scheme}.png", full_page=True)
                assert found.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], tab
                small = found.page.evaluate(
                    """(least) => [...document.querySelectorAll("button, select, .option span")]
                      .filter((x) => x.checkVisibility()).map((x) => [x.textContent, x.getBoundingClientRect()])
                      .filter(([, box]) => box.width < least || box.height < least).map(([text]) => text)""",
                    SMALL_TARGET_PX,
                )
                assert small == [], tab

    def test_tabs_by_keys(self, browser: Any, url: str) -> None:
        with opened(browser, url) as found:
            found.page.locator("#tab-draw").focus()
            for key, wanted in [
                ("ArrowRight", "race"),
                ("End", "verify"),
                ("ArrowRight", "draw"),
                ("ArrowLeft", "verify"),
            ]:
                found.page.keyboard.press(key)
                assert found.page.evaluate("document.activeElement.id") == f"tab-{wanted}"
                assert found.page.locator(f"#panel-{wanted}").is_visible()
                assert found.page.locator("[role=tabpanel]:visible").count() == 1

    def test_answers_are_read_aloud(self, browser: Any, url: str) -> None:
        with opened(browser, url) as found:
            found.draw(THREE)
            found.wait("document.querySelector('#said[aria-live=polite]').textContent.startsWith('Both say 3.')")

    def test_the_theme_stays(self, browser: Any, url: str) -> None:
        with opened(browser, url, color_scheme="light") as found:
            theme = "document.documentElement.dataset.theme"
            assert found.page.evaluate(theme) == "light"
            found.page.get_by_role("button", name="Dark mode").click()
            assert found.page.evaluate(theme) == "dark"
            found.go()
            assert found.page.evaluate(theme) == "dark"
            found.page.emulate_media(color_scheme="dark")
            found.page.get_by_role("button", name="Dark mode").click()
            assert found.page.evaluate(theme) == "light"

    def test_a_browser_without_storage(self, browser: Any, url: str) -> None:
        with opened(browser, url) as found:
            found.page.add_init_script(
                "Object.defineProperty(window, 'localStorage', { get() { throw new Error(); } })"
            )
            found.go()
            found.page.get_by_role("button", name="Dark mode").click()
            assert found.page.evaluate("document.documentElement.dataset.theme") == "dark"

    def test_the_narrowest_phones(self, browser: Any, url: str) -> None:
        """320 px, also what 1280 px are when all is enlarged four times (WCAG 1.4.10): nothing leaves its card."""
        out = """[...document.querySelectorAll("[role=tab], .card button, .card select, .card input")].filter((one) => {
          const around = (one.closest(".card") ?? document.documentElement).getBoundingClientRect();
          return one.offsetParent && one.getBoundingClientRect().right > around.right;
        }).map((one) => one.textContent)"""
        with opened(browser, url, viewport={"width": 320, "height": 640}) as found:
            for tab in TABS:
                found.go(f"tab={tab}")
                found.page.locator(f"#panel-{tab} button").first.wait_for(timeout=PATIENCE_MS)
                assert found.page.evaluate(out) == []
                assert found.page.evaluate("document.documentElement.scrollWidth") == 320

    def test_a_choice_by_keys_keeps_the_focus(self, browser: Any, url: str) -> None:
        with opened(browser, url, "tab=race") as found:
            found.page.locator("input[name=seconds][value='1']").focus()
            found.page.keyboard.press("ArrowRight")
            found.page.keyboard.press("ArrowRight")
            assert found.page.evaluate("[document.activeElement.name, document.activeElement.value]") == [
                "seconds", "10",
            ]  # fmt: skip
            assert "seconds=10" in found.page.url

    def test_storage_and_service_workers_that_are_forbidden(self, browser: Any, url: str) -> None:
        script = """
        const no = () => Promise.reject(new DOMException("The operation is insecure.", "SecurityError"));
        if (isSecureContext) { // not in about:blank
          ServiceWorkerContainer.prototype.getRegistrations = no;
          ServiceWorkerContainer.prototype.register = no;
          CacheStorage.prototype.open = no;
        }
        for (const name of ["localStorage", "sessionStorage"]) {
          Object.defineProperty(window, name, { get() { throw new DOMException("no", "SecurityError"); } });
        }
        """
        with opened(browser, url, script=script) as found:
            found.draw(THREE)
            assert found.says("3")


class TestTrouble:
    def test_a_network_that_is_damaged_is_said(self, browser: Any, networks: list[Path]) -> None:
        content = dict(site(networks[:1]))
        content |= {name: b"\0asm" for name in content if name.endswith(".wasm")}
        with served(content) as address:
            page = browser.new_page()
            page.goto(address)
            page.locator("#trouble").wait_for(timeout=PATIENCE_MS)
            assert "model-" in page.locator("#trouble").inner_text()
            page.close()

    def test_a_description_that_is_missing(self, browser: Any, networks: list[Path]) -> None:
        content = {name: data for name, data in site(networks[:1]).items() if name != "demo.json"}
        with served(content) as address:
            page = browser.new_page()
            page.goto(address)
            page.locator("#trouble").wait_for(timeout=PATIENCE_MS)
            assert "demo.json cannot be fetched: HTTP status 404" in page.locator("#trouble").inner_text()
            page.close()

    def test_addresses_that_make_no_sense(self, browser: Any, url: str) -> None:
        with opened(browser, url, "tab=none&digit=x&threads=-1&network=zzz&seconds=nan&relaxed=maybe") as found:
            assert found.page.locator("#panel-draw").is_visible()
            found.page.locator("#tab-race").click()
            found.page.get_by_role("button", name="Start the race").click()
            found.page.wait_for_selector(".headline strong", timeout=PATIENCE_MS)
        with opened(browser, url, "tab=yours&scale=foo&order=x&fit=y&seconds=99999") as found:
            values = found.page.locator("#panel-yours select").evaluate_all("(all) => all.map((one) => one.value)")
            assert {"imagenet", "crop"} <= set(values)

    def test_a_file_that_is_no_image(self, browser: Any, url: str, tmp_path: Path) -> None:
        (tmp_path / "letter.png").write_text("dear")
        page = browser.new_page()
        page.goto(f"{url}#tab=yours")
        page.locator("#upload").set_input_files(tmp_path / "letter.png", timeout=PATIENCE_MS)
        page.locator("#trouble").wait_for(timeout=PATIENCE_MS)
        assert page.locator("#trouble").inner_text() == "letter.png is no image that this browser shows"
        page.close()
