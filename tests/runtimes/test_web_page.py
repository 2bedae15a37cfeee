"""load() in pages of Chromium: workers, threads with and without isolation, the cache, a policy without eval."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.web import ISOLATED, NO_EVAL, Site, chromium, digits, digits_expected, serve

NAMES = {".wasm", ".bin", ".packed"}  # of what is worth keeping


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    digits(folder)
    (folder / "index.html").write_text('<!doctype html><title>test</title><link rel="icon" href="data:,">')
    return folder


@contextmanager
def page_of(browser: Any, site: Site) -> Iterator[Any]:
    """A page that saw nothing before, whose console and network must stay without errors."""
    context = browser.new_context()
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda request: errors.append(f"{request.url} {request.failure}"))
    page.goto(site.url)
    page.errors = errors
    try:
        yield page
    finally:
        context.close()


def run(page: Any, body: str) -> Any:
    """What ``body`` returns, with the loader as ``edge`` and an input of the digits as ``inputs``."""
    x, _ = digits_expected()
    return page.evaluate(f"""async () => {{
      const edge = await import("/digits.edge/model.mjs");
      const inputs = {{ input: Float32Array.from({x.tolist()}) }};
      const first = async (model) => [...Object.values(await model.run(inputs))[0]];
      {body}
    }}""")


RUN = """
const model = await edge.load("digits.edge/", OPTIONS);
const outputs = await first(model);
const { backend, why, threads, isa } = model;
await model.close();
return { outputs, backend, why, threads, isa };
"""


def is_right(outputs: list[float]) -> bool:
    return bool(np.allclose(outputs, digits_expected()[1], rtol=1e-4, atol=1e-4))


@pytest.mark.cpus(2)
@pytest.mark.parametrize("worker", ["true", "false"])
@pytest.mark.parametrize("relaxed", ["true", "false"])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_build(browser: Any, folder: Path, worker: str, relaxed: str, threads: int) -> None:
    options = f"{{ worker: {worker}, relaxed: {relaxed}, threads: {threads}, strict: true, verify: true }}"
    with serve(folder, ISOLATED) as site, page_of(browser, site) as page:
        found = run(page, RUN.replace("OPTIONS", options))
        assert is_right(found["outputs"]) and found["why"] == [] and page.errors == []
        name = "relaxed SIMD" if relaxed == "true" else "SIMD128"
        many = f"{threads} thread{'s' if threads > 1 else ''}"
        assert found["backend"] == f"{name}, {many}{', worker' if worker == 'true' else ''}"
        folded = f"model-{'relaxed' if relaxed == 'true' else 'simd128'}{'-threads' if threads > 1 else ''}.wasm"
        assert [path for path in site.asked if path.endswith(".wasm")] == [f"/digits.edge/{folded}"]


def test_defaults_are_a_worker_and_one_thread_where_a_page_is_not_isolated(browser: Any, folder: Path) -> None:
    with serve(folder) as site, page_of(browser, site) as page:
        found = run(page, RUN.replace("OPTIONS", "{}"))
        assert is_right(found["outputs"]) and page.errors == []
        assert found["backend"] == "relaxed SIMD, 1 thread, worker"
        assert found["why"] == ["1 thread: crossOriginIsolated is false"]


def test_a_page_goes_on_while_its_model_runs(browser: Any, folder: Path) -> None:
    with serve(folder) as site, page_of(browser, site) as page:
        ticks, runs = run(page, """
        const model = await edge.load("digits.edge/");
        let ticks = 0;
        const timer = setInterval(() => ticks++, 1);
        const { wallMs } = await model.time(inputs, { numRuns: 1e9, maxSecs: 0.5 });
        clearInterval(timer);
        await model.close();
        return [ticks, wallMs.length];
        """)  # fmt: skip
        assert ticks > 5 and runs > 5


def test_the_second_load_is_from_the_cache(browser: Any, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "site")
    kept = "return (await (await caches.open('edgesparse')).keys()).map(({ url }) => url);"
    with serve(tmp_path / "site") as site, page_of(browser, site) as page:

        def heavy() -> list[str]:
            return [path for path in site.asked if Path(path).suffix in NAMES]

        assert is_right(run(page, RUN.replace("OPTIONS", "{ relaxed: false }"))["outputs"]) and len(heavy()) == 2
        site.asked.clear()
        page.reload()
        again = run(page, RUN.replace("OPTIONS", "{ relaxed: false }"))
        assert is_right(again["outputs"]) and heavy() == [] and "/digits.edge/manifest.json" in site.asked
        assert not [why for why in again["why"] if "cache" in why]
        assert is_right(run(page, RUN.replace("OPTIONS", "{ relaxed: false, cache: false }"))["outputs"])
        assert len(heavy()) == 2
        before = run(page, kept)
        assert len(before) == 2

        # Another version of the bundle: its files are fetched, those of the old one forgotten.
        manifest = tmp_path / "site" / "digits.edge" / "manifest.json"
        manifest.write_text(manifest.read_text() + " ")
        site.asked.clear()
        assert is_right(run(page, RUN.replace("OPTIONS", "{ relaxed: false }"))["outputs"]) and len(heavy()) == 2
        after = run(page, kept)
        assert len(after) == 2 and not set(before) & set(after) and page.errors == []


@pytest.mark.parametrize("method", ["open", "match", "put", "keys"])
def test_a_cache_that_fails_is_told(browser: Any, folder: Path, method: str) -> None:
    with serve(folder) as site, page_of(browser, site) as page:
        owner = "CacheStorage" if method == "open" else "Cache"
        found = run(
            page,
            f"""
        {owner}.prototype.{method} = () => Promise.reject(new DOMException("it is full", "QuotaExceededError"));
        {RUN.replace("OPTIONS", "{ worker: false }")}
        """,
        )
        assert is_right(found["outputs"]) and "not cached: it is full" in found["why"] and page.errors == []


def test_a_damaged_copy_in_the_cache_is_found(browser: Any, folder: Path) -> None:
    with serve(folder) as site, page_of(browser, site) as page:
        assert run(page, """
        await (await edge.load("digits.edge/")).close();
        const cache = await caches.open("edgesparse");
        const key = (await cache.keys()).find(({ url }) => url.endsWith(".wasm"));
        const content = new Uint8Array(await (await cache.match(key)).arrayBuffer());
        const headers = { "Content-Type": "application/wasm" };
        await cache.put(key, new Response(new Uint8Array([...content, 0, 2, 1, 120]), { headers }));
        return edge.load("digits.edge/", { verify: true }).catch(({ name, code }) => `${name} ${code}`);
        """) == "LoadError damaged"  # fmt: skip


def test_a_file_of_another_version_is_not_kept(browser: Any, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "site")
    module = tmp_path / "site" / "digits.edge" / "model-relaxed.wasm"
    module.write_bytes(module.read_bytes() + b"\0\2\1x")
    with serve(tmp_path / "site") as site, page_of(browser, site) as page:
        body = """
        const code = await edge.load("digits.edge/").catch((error) => `${error.name} ${error.code}`);
        return [code, (await (await caches.open("edgesparse")).keys()).map(({ url }) => url).join()];
        """
        code, kept = run(page, body)
        assert code == "LoadError damaged" and "wasm" not in kept


def test_a_policy_without_eval(browser: Any, folder: Path) -> None:
    with serve(folder, {**ISOLATED, **NO_EVAL}) as site, page_of(browser, site) as page:
        page.add_script_tag(url="/digits.edge/model.mjs", type="module")
        found = page.evaluate("""async () => {
          const { load } = await import("/digits.edge/model.mjs");
          const model = await load({ threads: 2 });
          const found = [model.threads, (await model.run({ input: new Float32Array(64) })).linear.length];
          await model.close();
          return found;
        }""")
        assert found == [2, 10] and page.errors == []


def test_a_policy_without_webassembly_is_told(browser: Any, folder: Path) -> None:
    policy = {"Content-Security-Policy": "default-src 'self'"}
    with serve(folder, policy) as site, page_of(browser, site) as page:
        told = page.evaluate("""async () => {
          const { load } = await import("/digits.edge/model.mjs");
          return load().then(() => "loaded", ({ name, code, message }) => `${name} ${code} ${message}`);
        }""")
        assert told.startswith("LoadError compile") and "'wasm-unsafe-eval'" in told


def test_a_loader_of_another_origin_runs_in_the_page(browser: Any, folder: Path, tmp_path: Path) -> None:
    """Browsers start no workers from scripts of other origins."""
    (tmp_path / "index.html").write_text("<!doctype html><title>other</title>")
    with serve(folder, {"Access-Control-Allow-Origin": "*"}) as far, serve(tmp_path) as near:
        with page_of(browser, near) as page:
            found = page.evaluate(f"""async () => {{
              const {{ load }} = await import("{far.url}digits.edge/model.mjs");
              const model = await load();
              return [model.backend, model.why[0], (await model.run({{ input: new Float32Array(64) }})).linear.length];
            }}""")
        assert found[0] == "relaxed SIMD, 1 thread" and found[1].startswith("no worker: ") and found[2] == 10


def test_a_sandboxed_frame_has_neither_workers_nor_a_cache(browser: Any, folder: Path, tmp_path: Path) -> None:
    """As playgrounds on the web show code: asking for the Cache API is an error there, not undefined."""
    with serve(folder, {"Access-Control-Allow-Origin": "*"}) as far:
        script = f"""
        const {{ load }} = await import("{far.url}digits.edge/model.mjs");
        const told = load().then(({{ backend, why }}) => [backend, ...why], (error) => [error.stack]);
        parent.postMessage(await told, "*");
        """
        (tmp_path / "index.html").write_text("<!doctype html><title>outer</title>")
        with serve(tmp_path) as near, page_of(browser, near) as page:
            backend, *why = page.evaluate("""(script) => new Promise((resolve) => {
              addEventListener("message", ({ data }) => resolve(data));
              const frame = document.createElement("iframe");
              frame.sandbox = "allow-scripts";
              frame.srcdoc = `<script type="module">${script}</scr` + "ipt>";
              document.body.append(frame);
            })""", script)  # fmt: skip
    assert backend == "relaxed SIMD, 1 thread", backend
    assert why[0].startswith("no worker: ") and any(text.startswith("not cached: ") for text in why)


def test_workers_of_isolated_pages_need_the_headers_too(browser: Any, folder: Path) -> None:
    """The page has them, its scripts do not: no worker starts, and the model runs in the page."""
    with serve(folder, ISOLATED) as site, page_of(browser, site) as page:
        site.headers = {"Cross-Origin-Resource-Policy": "same-origin"}
        found = run(page, RUN.replace("OPTIONS", "{ threads: 2 }"))
        assert is_right(found["outputs"]) and found["threads"] == 1
        assert found["why"][0].startswith("no worker: ")


def test_errors_cross_the_worker(browser: Any, folder: Path) -> None:
    with serve(folder) as site, page_of(browser, site) as page:
        assert run(page, """
        const told = [], tell = (error) => told.push(`${error.constructor.name} ${error.code}`);
        const model = await edge.load("digits.edge/");
        await model.run({}).catch(tell);
        const waiting = model.time(inputs, { numRuns: 1e9 }).catch(tell);
        await model.close();
        await waiting;
        await edge.load("none.edge/").catch(tell);
        const abort = new AbortController();
        const loading = edge.load("digits.edge/", { signal: abort.signal, cache: false }).catch(tell);
        abort.abort();
        await loading;
        return told;
        """) == ["InputError missing", "RunError closed", "LoadError fetch", "LoadError aborted"]  # fmt: skip


def test_many_models_leave_nothing_behind(browser: Any, folder: Path) -> None:
    """Workers end, and those that they started: Chromium keeps one that ends while its own are ending."""
    with serve(folder, ISOLATED) as site, page_of(browser, site) as page:
        started: list[Any] = []
        page.on("worker", lambda worker: started.append(worker))
        assert run(page, """
        for (let i = 0; i < 40; i++) {
          const model = await edge.load("digits.edge/", { threads: 2 });
          await first(model);
          await model.close();
        }
        return true;
        """)  # fmt: skip
        for _ in range(600):
            if not page.workers:
                break
            page.wait_for_timeout(100)
        # of 80; a busy Chromium once told of the end of one of them later than that
        assert len(started) == 80 and len(page.workers) < 3
