"""load() in node.js: damage, servers, aborts, progress; and which build it takes. In Chromium: test_web_page.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web import Site, digits, serve

from .conftest import MakeBundle
from .node_scripts import WORKER, Built, run

HALF = b"half of it"


@pytest.fixture
def site(built: Built) -> Iterator[Site]:
    with serve(built("wasm")) as site:
        yield site


def test_load_takes_options_alone_or_what_lies_beside_it(built: Built) -> None:
    run(built("wasm"), """
    for (const given of [[], [{ threads: 1 }], [undefined, { threads: 1 }], [new URL(`file://${at}`)], [at + "/"]]) {
      const model = await edge.load(...given);
      assert.equal((await model.run(inputs)).y[1], 1);
      await model.close();
    }
    await assert.rejects(edge.load(new URL("http://127.0.0.1:9/none.edge")), { name: "LoadError", code: "fetch" });
    """)  # fmt: skip


@WORKER
def test_files_that_a_bundler_made_part_of_its_text(built: Built, worker: str) -> None:
    run(built("wasm"), f"""
    const text = (name) => fs.readFileSync(`${{at}}/${{name}}`, "base64");
    const inline = (name) => [name, `data:application/octet-stream;base64,${{text(name)}}`];
    const files = Object.fromEntries(fs.readdirSync(at).filter((name) => !name.endsWith(".mjs")).map(inline));
    const model = await edge.loadBeside({{ files }}, {{ worker: {worker}, threads: 1, cache: true }});
    assert.equal((await model.run(inputs)).y[1], 1);
    assert.match(model.why.join(), /not cached: /);
    await model.close();
    delete files["manifest.json"];
    await assert.rejects(edge.loadBeside({{ files }}, {{ worker: {worker} }}), {{ name: "LoadError", code: "fetch" }});
    """)  # fmt: skip


@WORKER
@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("manifest.json", b"<html>", "manifest"),
        ("manifest.json", None, "fetch"),
        ("model-toy.wasm", None, "fetch"),
        ("model-toy.wasm", b"\0asm\1\0\0\0\xff", "compile"),
        ("model-toy.wasm", b"", "compile"),
        ("model-toy.wasm", HALF, "compile"),
        ("weights", b"1234", "damaged"),
        ("weights", HALF, "damaged"),
        ("weights", None, "fetch"),
    ],
)
def test_damaged_bundles(toy: MakeBundle, worker: str, name: str, content: bytes | None, code: str) -> None:
    bundle = toy("wasm")
    path = next(bundle.glob(f"{name}*"))
    content = path.read_bytes()[: path.stat().st_size // 2] if content == HALF else content
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    (line,) = run(bundle, f"""
    await edge.load(at, {{ worker: {worker}, threads: 1 }})
      .catch((e) => console.log(e.name, e.code, e instanceof edge.LoadError, typeof e.hint));
    """)  # fmt: skip
    assert line == f"LoadError {code} true string"


@WORKER
def test_weights_that_the_manifest_does_not_describe(toy: MakeBundle, worker: str) -> None:
    """They would all be zero."""
    bundle = toy("wasm")
    document = json.loads((bundle / "manifest.json").read_text())
    assert document["weights_bytes"]
    (bundle / "manifest.json").write_text(json.dumps(document | {"weights": None}))
    run(bundle, f"""
    await assert.rejects(edge.load(at, {{ worker: {worker}, threads: 1 }}), {{ code: "manifest", message: /weights/ }});
    """)  # fmt: skip


@WORKER
def test_verify_finds_a_flipped_bit_in_the_module(toy: MakeBundle, worker: str) -> None:
    bundle = toy("wasm")
    with (bundle / "model-toy.wasm").open("ab") as file:
        file.write(b"\0\2\1x")  # a section that nobody reads
    run(bundle, f"""
    await (await edge.load(at, {{ worker: {worker}, threads: 1 }})).close();
    await assert.rejects(edge.load(at, {{ worker: {worker}, threads: 1, verify: true }}), {{ code: "damaged" }});
    """)  # fmt: skip


@WORKER
def test_http_failures_are_told(site: Site, built: Built, worker: str) -> None:
    site.answers = {"/model-toy.wasm": (404, b"gone")}
    load = f"edge.load('{site.url}', {{ worker: {worker}, threads: 1 }})"
    (line,) = run(built("wasm"), f"await {load}.catch((e) => console.log(e.code, e.message));")
    assert line == f"fetch {site.url}model-toy.wasm cannot be fetched: HTTP status 404"
    site.answers = {"/model-toy.wasm": (200, b"<!doctype html>")}
    site.types[".wasm"] = "text/html"
    lines = run(built("wasm"), f"await {load}.catch((e) => console.log(e.code, e.message));")
    assert lines[0].startswith("compile model-toy.wasm does not compile") and "is the file there?" in lines[1]


@WORKER
def test_a_wrong_mime_type_is_only_slower(site: Site, built: Built, worker: str) -> None:
    body = f"""
    const model = await edge.load('{site.url}', {{ worker: {worker}, threads: 1 }});
    assert.equal((await model.run(inputs)).y[1], 1);
    console.log(JSON.stringify(model.why.filter((why) => why.startsWith("compiled"))));
    await model.close();
    """
    assert run(built("wasm"), body) == ["[]"]
    site.types[".wasm"] = "text/plain; charset=x"
    why = "compiled after the download: the server calls model-toy.wasm 'text/plain' instead of application/wasm"
    assert run(built("wasm"), body) == [json.dumps([why], separators=(",", ":"))]


@WORKER
@pytest.mark.parametrize("stalled", ["manifest.json", "model-toy.wasm", "weights"])
def test_loading_can_be_aborted(site: Site, built: Built, worker: str, stalled: str) -> None:
    path = next(f"/{path.name}" for path in built("wasm").glob(f"{stalled}*"))
    site.stalls = {path}
    run(built("wasm"), f"""
    const abort = new AbortController(), options = {{ worker: {worker}, threads: 1, signal: abort.signal }};
    const loading = edge.load('{site.url}', options);
    while (!(await (await fetch('{site.url}asked')).json()).includes("{path}")) {{
      await new Promise((wake) => setTimeout(wake, 20));
    }}
    abort.abort();
    await assert.rejects(loading, (e) => e instanceof edge.LoadError && e.code === "aborted");
    await assert.rejects(edge.load('{site.url}', options), {{ code: "aborted" }});
    """)  # fmt: skip


@WORKER
def test_an_abort_is_heard_at_every_moment(built: Built, worker: str) -> None:
    """Also between two steps, where nothing is waited for that an abort would end."""
    run(built("wasm"), f"""
    for (let moment = 0; moment < 80; moment++) {{
      const abort = new AbortController();
      const loading = edge.load(at, {{ worker: {worker}, threads: 1, signal: abort.signal }});
      let isLoaded = false;
      const settled = loading.then((model) => {{ isLoaded = true; return model.close(); }}, (error) => error.code);
      for (let i = 0; i < moment; i++) await (moment < 40 ? null : new Promise(setImmediate));
      const isLate = isLoaded;
      abort.abort();
      assert.equal(await settled, isLate ? undefined : "aborted", `at moment ${{moment}}`);
    }}
    const abort = new AbortController();
    const never = edge.load(at, {{ worker: {worker}, signal: abort.signal, read: () => new Promise(() => {{}}) }});
    setTimeout(() => abort.abort(), 50);
    await assert.rejects(never, {{ code: "aborted" }});
    """)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        "m.modules[0].file = 'http://127.0.0.1:9/other.wasm'",
        "m.modules[0].file = '../model-toy.wasm'",
        "m.modules[0].file = '/etc/passwd'",
        "m.modules = 1",
        "m.weights.file = 'file:///etc/passwd'",
        "m.weights.parts[0].winograd = {channels: 1, inputs: 0, height: 4, group: 0, matrix: []}",
        "m.weights.parts[0].winograd = {channels: 1e9, inputs: 1e5, height: 4, group: 4, matrix: []}",
        "m.weights.parts[0].bytes = -4",
        "m.weights.parts[0].bytes = 1e300",
        "m.weights.parts[0].item_bytes = 0",
        "m.weights.parts[0].offset = 1",
        "m.weights.parts[0].kept = 1e9",
        "Object.assign(m.weights.parts[0], {coding: 'table', entries: 4e9})",
        "m.weights_bytes = -1",
        "m.arena_bytes = 2 ** 60",
        "m.inputs[0].dtype = 'constructor'",
        "m.inputs[0].bytes = 1e18",
        "m.layers = {}",
        "m.files = null",
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_manifests_that_mean_harm_are_refused(toy: MakeBundle, change: str, threads: int) -> None:
    """At once, with the error that says so: nothing loops, asks for all memory, or is read from elsewhere."""
    bundle = toy("wasm")
    (line,) = run(bundle, f"""
    const m = JSON.parse(fs.readFileSync(`${{at}}/manifest.json`));
    {change};
    fs.writeFileSync(`${{at}}/manifest.json`, JSON.stringify(m));
    await edge.load(at, {{ threads: {threads} }}).catch((e) => console.log(e.name, e.code));
    """, timeout_s=20)  # fmt: skip
    assert line == "LoadError manifest"


def test_a_module_of_somebody_else_is_refused(toy: MakeBundle) -> None:
    bundle = toy("wasm")
    (bundle / "model-toy.wasm").write_bytes(b"\0asm\1\0\0\0")
    (line,) = run(bundle, "await edge.load(at, { threads: 1 }).catch((e) => console.log(e.name, e.code));")
    assert line == "LoadError manifest"


def test_an_engine_without_webassembly_is_told(built: Built) -> None:
    """Lockdown Mode of Safari."""
    (line,) = run(built("wasm"), """
    delete globalThis.WebAssembly;
    await edge.load(at, { threads: 1 }).catch((e) => console.log(e.name, e.code, edge.features().simd));
    """)  # fmt: skip
    assert line == "LoadError simd false"


def test_broken_connections_are_told(built: Built) -> None:
    run(built("wasm"), """
    import http from "node:http";
    const server = http.createServer((request, response) => {
      const content = fs.readFileSync(at + request.url);
      if (request.url === "/manifest.json") return response.end(content);
      response.writeHead(200, { "Content-Length": content.length });
      response.write(content.subarray(0, content.length / 2), () => response.destroy());
    });
    await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
    const error = await edge.load(`http://127.0.0.1:${server.address().port}`, { threads: 1 }).catch((e) => e);
    assert(error instanceof edge.LoadError && error.code === "fetch" && /broke off/.test(error.message), error);
    server.close();
    """)  # fmt: skip


@WORKER
def test_progress_ends_at_its_total(site: Site, built: Built, worker: str) -> None:
    run(built("wasm"), f"""
    const seen = [];
    const model = await edge.load('{site.url}', {{
      worker: {worker}, threads: 1, onProgress: (progress) => seen.push(progress),
    }});
    await model.close();
    const phases = [...new Set(seen.map((p) => p.phase))];
    assert.deepEqual(phases, ["download", "compile", "start"]);
    for (const phase of phases) {{
      const own = seen.filter((p) => p.phase === phase);
      own.forEach((p, i) => assert(p.loaded <= p.total && (i === 0 || p.loaded >= own[i - 1].loaded)));
      assert.equal(own.at(-1).loaded, own.at(-1).total);
    }}
    assert(seen.find((p) => p.phase === "download").total > fs.statSync(at + "/model-toy.wasm").size);
    """)  # fmt: skip


@WORKER
def test_read_gives_files_from_elsewhere(built: Built, worker: str) -> None:
    run(built("wasm"), f"""
    const options = {{ worker: {worker}, threads: 1 }}, names = [];
    const model = await edge.load("http://nowhere.invalid/", {{ ...options, read: async (name) => {{
      names.push(name);
      return new Uint8Array(fs.readFileSync(`${{at}}/${{name}}`));
    }} }});
    assert.equal((await model.run(inputs)).y[1], 1);
    assert.equal(names.length, 3);
    await model.close();
    const no = async () => {{ throw new TypeError("not today"); }};
    await assert.rejects(edge.load(at, {{ ...options, read: no }}), {{ code: "fetch", message: /not today/ }});
    await assert.rejects(edge.load(at, {{ ...options, read: async () => "text" }}), {{ code: "fetch" }});
    """)  # fmt: skip


@pytest.mark.parametrize("way", ["import", "constructor"])
def test_without_workers_it_runs_here_and_says_so(built: Built, way: str) -> None:
    broken = {
        "import": "threads.Worker = undefined;",
        "constructor": "threads.Worker = class { constructor() { no(); } };",
    }
    run(built("wasm"), f"""
    import {{ createRequire, syncBuiltinESMExports }} from "node:module";
    const threads = createRequire(import.meta.url)("node:worker_threads");
    {broken[way]}
    syncBuiltinESMExports();
    const model = await edge.load(at, {{ worker: true, threads: 2 }});
    assert(!model.backend.includes("worker") && model.threads === 1);
    assert.match(model.why.join(), /no worker: .*1 thread: /);
    assert.equal((await model.run(inputs)).y[1], 1);
    await model.close();
    await assert.rejects(edge.load(at, {{ worker: true, strict: true }}), {{ name: "LoadError", code: "worker" }});
    """)  # fmt: skip


@pytest.mark.parametrize(
    ("relaxed_simd", "options", "isa", "why"),
    [
        (True, "", "relaxed", ""),
        (True, "relaxed: true, strict: true", "relaxed", ""),
        (True, "relaxed: false", "simd128", ""),
        (False, "", "simd128", "SIMD128: this engine has no relaxed SIMD"),
        (False, "relaxed: true", "simd128", "SIMD128: this engine has no relaxed SIMD"),
        (False, "relaxed: true, strict: true", "relaxed-simd", ""),
    ],
)
def test_the_build_for_the_engine(tmp_path: Path, relaxed_simd: bool, options: str, isa: str, why: str) -> None:
    """What is chosen where engines are said to have relaxed SIMD or not; this one runs the other build all the same."""
    (line,) = run(digits(tmp_path), f"""
    WebAssembly.validate = (bytes) => {str(relaxed_simd).lower()} || bytes.length < 30;
    let asked = "";
    const read = async (name) => {{
      if (name.endsWith(".wasm")) asked = name;
      return new Uint8Array(fs.readFileSync(`${{at}}/${{name.replace("relaxed", "simd128")}}`));
    }};
    const model = await edge.load(at, {{ threads: 1, read, {options} }}).catch((e) => ({{ isa: e.code, why: [] }}));
    assert.equal(asked, model.isa === "relaxed-simd" ? "" : `model-${{model.isa}}.wasm`);
    console.log(JSON.stringify([model.isa, model.why.join()]));
    """)  # fmt: skip
    assert json.loads(line) == [isa, why]
