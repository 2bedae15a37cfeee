"""load(): models behind promises, in this thread or a worker, in node.js; test_web_page.py: in Chromium."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.web import Site, digits, digits_expected, script, serve

from .conftest import MakeBundle

Built = Callable[..., Path]
X_AND_K = "const inputs = { x: Float32Array.of(0, 1, 2, 3, 4), k: BigInt64Array.of(1n, -2n, 2n ** 40n) };"
WORKER = pytest.mark.parametrize("worker", ["true", "false"], ids=["worker", "here"])


def run(bundle: Path, body: str, *flags: str, timeout_s: float = 60) -> list[str]:
    """The lines that it prints."""
    done = script(bundle, f"{X_AND_K}\n{body}", *flags, timeout_s=timeout_s)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def site(built: Built) -> Iterator[Site]:
    with serve(built("wasm")) as site:
        yield site


@WORKER
@pytest.mark.parametrize("threads", ["1", pytest.param("2", marks=pytest.mark.cpus(2))])
def test_runs_wait_for_each_other(built: Built, worker: str, threads: str) -> None:
    run(built("wasm"), f"""
    const model = await edge.load(at, {{ worker: {worker}, threads: {threads} }});
    assert.deepEqual(model.inputs.map((p) => [p.name, p.dtype, p.shape]), [["x", "f32", [1, 5]], ["k", "i64", [3]]]);
    const [first, ...others] = await Promise.all([0, 1, 2, 3].map((n) => {{
      const x = inputs.x.map((value) => value + n), results = model.run({{ ...inputs, x }});
      x.fill(NaN);  // is ours again
      return results;
    }}));
    assert.deepEqual([...first.y], [0.5, 1, 4, 9, 1000008]);
    assert.deepEqual([...first.n], [2n, -1n, 2n ** 40n + 1n]);
    others.forEach(({{ y }}, n) => assert.deepEqual([...y], [...first.y].map((value) => value + 2 * (n + 1))));
    assert.equal(inputs.k.length, 3);
    const part = new Float32Array([9, 9, ...inputs.x, 9]).subarray(2, 7);
    assert.deepEqual(await model.run({{ ...inputs, x: part }}), first);
    assert.equal(part.length, 5);
    await model.close();
    """)  # fmt: skip


@WORKER
@pytest.mark.parametrize("threads", ["1", pytest.param("2", marks=pytest.mark.cpus(2))])
def test_outputs_are_those_of_onnxruntime(tmp_path: Path, worker: str, threads: str) -> None:
    bundle = digits(tmp_path)
    x, y = digits_expected()
    (line,) = run(bundle, f"""
    const model = await edge.load(undefined, {{ worker: {worker}, threads: {threads} }});
    const [output] = Object.values(await model.run({{ [model.inputs[0].name]: Float32Array.from({x.tolist()}) }}));
    console.log(JSON.stringify([...output]));
    await model.close();
    """)  # fmt: skip
    assert json.loads(line) == pytest.approx(y.tolist(), rel=1e-4, abs=1e-4)


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
@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ("{ k: inputs.k }", "missing", "input 'x' is missing; expected a Float32Array of 5 values (shape [1, 5])"),
        ("{ ...inputs, z: inputs.x }", "unknown", "no input 'z'"),
        ("{ ...inputs, x: [1, 2, 3, 4, 5] }", "type", "got Array"),
        ("{ ...inputs, x: new Float64Array(5) }", "type", "got Float64Array"),
        ("{ ...inputs, x: new Float32Array(6) }", "length", "got 6 values"),
        ("undefined", "missing", "an object with an array for each input"),
    ],
)
def test_wrong_inputs(built: Built, worker: str, given: str, code: str, words: str) -> None:
    (line,) = run(built("wasm"), f"""
    const model = await edge.load(at, {{ worker: {worker} }});
    for (const call of [model.run({given}), model.time({given})]) {{
      await assert.rejects(call, (e) => e instanceof edge.InputError && e.code === "{code}");
    }}
    await model.run({given}).catch((e) => console.log(JSON.stringify([e.name, e.message])));
    assert.equal((await model.run(inputs)).y[1], 1, "and it still runs");
    await model.close();
    """)  # fmt: skip
    name, message = json.loads(line)
    assert name == "InputError" and words in message


@WORKER
@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("manifest.json", b"<html>", "manifest"),
        ("manifest.json", None, "fetch"),
        ("model-toy.wasm", None, "fetch"),
        ("model-toy.wasm", b"\0asm\1\0\0\0\xff", "compile"),
        ("model-toy.wasm", b"", "compile"),
        ("weights", b"1234", "damaged"),
        ("weights", None, "fetch"),
    ],
)
def test_damaged_bundles(toy: MakeBundle, worker: str, name: str, content: bytes | None, code: str) -> None:
    bundle = toy("wasm")
    path = next(bundle.glob(f"{name}*"))
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    (line,) = run(bundle, f"""
    await edge.load(at, {{ worker: {worker}, threads: 1 }})
      .catch((e) => console.log(e.name, e.code, e instanceof edge.LoadError, typeof e.hint));
    """)  # fmt: skip
    assert line == f"LoadError {code} true string"


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


@WORKER
def test_a_closed_model_says_so(built: Built, worker: str) -> None:
    run(built("wasm"), f"""
    const model = await edge.load(at, {{ worker: {worker} }});
    const waiting = model.run(inputs).then(() => "done", (e) => e.code);
    await model.close();
    await model.close();
    assert(["done", "closed"].includes(await waiting));
    for (const call of [model.run(inputs), model.time(inputs)]) {{
      await assert.rejects(call, (e) => e instanceof edge.RunError && e.code === "closed");
    }}
    """)  # fmt: skip


def test_a_worker_that_is_killed_is_told(built: Built) -> None:
    """Before, while and after it runs; a worker that ends by itself is an error, too."""
    run(built("wasm"), """
    import { createRequire, syncBuiltinESMExports } from "node:module";
    const threads = createRequire(import.meta.url)("node:worker_threads");
    const workers = [];
    threads.Worker = class extends threads.Worker {
      constructor(...given) { super(...given); workers.push(this); }
    };
    syncBuiltinESMExports();
    const model = await edge.load(at, { worker: true, threads: 1 });
    assert.equal(workers.length, 1);
    const running = model.time(inputs, { numRuns: 1e9 });
    setTimeout(() => workers[0].terminate(), 100);
    const killed = (e) => e instanceof edge.RunError && e.code === "worker" && /exit code 1/.test(e.message);
    await assert.rejects(running, killed);
    await assert.rejects(model.run(inputs), killed);
    await model.close();
    await assert.rejects(model.run(inputs), { code: "closed" });
    const loading = edge.load(at, { worker: true, strict: true });
    setImmediate(() => workers[1].terminate());
    await assert.rejects(loading, (e) => e instanceof edge.LoadError && e.code === "worker");
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


@WORKER
@pytest.mark.cpus(2)
@pytest.mark.parametrize(
    ("options", "threads", "why"),
    [
        ("threads: 1", 1, ""),
        ("threads: 2, strict: true", 2, ""),
        ("threads: 256", None, "threads: there are "),
        ("threads: 'auto'", None, ""),
    ],
)
def test_threads_and_why_not_more(built: Built, worker: str, options: str, threads: int | None, why: str) -> None:
    (line,) = run(built("wasm"), f"""
    const model = await edge.load(at, {{ worker: {worker}, {options} }});
    console.log(JSON.stringify([model.threads, model.why.join(), model.backend]));
    assert.equal((await model.run(inputs)).y[1], 1);
    await model.close();
    """)  # fmt: skip
    given, reasons, backend = json.loads(line)
    assert given == threads if threads else given > 1
    assert why in reasons
    assert backend == f"toy, {given} thread{'s' if given > 1 else ''}{', worker' if worker == 'true' else ''}"


@pytest.mark.cpus(2)
def test_short_runs_get_one_thread_unless_asked(tmp_path: Path) -> None:
    run(
        digits(tmp_path),
        """
    const model = await edge.load({ relaxed: false });
    assert.deepEqual([model.threads, model.why], [1, ["1 thread: a run is predicted to take less than 1 ms"]]);
    await model.close();
    const other = await edge.load({ threads: 2, relaxed: false });
    assert.deepEqual([other.threads, other.why], [2, []]);
    await other.close();
    """,
    )


@pytest.mark.cpus(2)
@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("globalThis.crossOriginIsolated = false;", "1 thread: crossOriginIsolated is false"),
        ("globalThis.isSecureContext = false;", "1 thread: isSecureContext is false (https and localhost are secure)"),
        ("globalThis.SharedArrayBuffer = undefined;", "1 thread: this engine has no SharedArrayBuffer"),
        ("WebAssembly.Memory = class { constructor() { throw new RangeError('no'); } };", "1 thread: the model needs "),
    ],
)
def test_one_thread_where_memory_cannot_be_shared(built: Built, before: str, why: str) -> None:
    (line,) = run(built("wasm"), f"""{before}
    const model = await edge.load(at, {{ threads: 2 }});
    assert.equal(model.threads, 1);
    console.log(model.why[0]);
    assert.equal((await model.run(inputs)).y[1], 1);
    await assert.rejects(edge.load(at, {{ threads: 2, strict: true }}), {{ name: "LoadError" }});
    """)  # fmt: skip
    assert line.startswith(why)


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


@WORKER
def test_times(tmp_path: Path, worker: str) -> None:
    run(digits(tmp_path), f"""
    const model = await edge.load(at, {{ worker: {worker} }});
    const given = {{ [model.inputs[0].name]: new Float32Array(64) }};
    const plain = await model.time(given, {{ numRuns: 4, warmupRuns: 0 }});
    assert.deepEqual([Object.keys(plain), plain.wallMs.length], [["wallMs"], 4]);
    const {{ wallMs, callMs }} = await model.time(given, {{ numRuns: 3, perLayer: true }});
    const calls = 1 + Math.max(...model.manifest.layers.flatMap((layer) => layer.calls));
    assert.deepEqual([wallMs.length, callMs.map((run) => run.length)], [3, [calls, calls, calls]]);
    assert(wallMs.every((ms) => ms > 0) && callMs.flat().every((ms) => ms >= 0));
    assert.equal((await model.time(given, {{ numRuns: 1e9, maxSecs: 0 }})).wallMs.length, 1);
    await model.close();
    """)  # fmt: skip


@WORKER
@pytest.mark.parametrize("close", ["await model.close();", ""])
def test_programs_end(built: Built, worker: str, close: str) -> None:
    run(built("wasm"), f"""
    const model = await edge.load(at, {{ worker: {worker} }});
    await model.run(inputs);
    {close}
    """)  # fmt: skip


@pytest.mark.cpus(2)
@pytest.mark.parametrize("options", ["{ threads: 1 }", "{ threads: 2 }", "{ worker: true, threads: 1 }"])
def test_memory_is_given_back(built: Built, options: str) -> None:
    """10,000 runs, then 200 models: what stays is less than 100 bytes a run, and less than a model has for itself."""
    lines = run(built("wasm"), f"""
    const MB = 2 ** 20;
    async function grown(times, once) {{
      const settled = async () => {{
        for (let i = 0; i < 5; i++) {{
          gc();
          await new Promise((wake) => setTimeout(wake, 20));
        }}
        const {{ rss, heapUsed, external }} = process.memoryUsage();
        return {{ rss, heap: heapUsed + external }};
      }};
      for (let i = 0; i < times / 4; i++) await once();
      const before = await settled();
      for (let i = 0; i < times; i++) await once();
      const after = await settled();
      return {{ rss: (after.rss - before.rss) / MB, heap: (after.heap - before.heap) / MB }};
    }}
    const model = await edge.load(at, {options});
    const runs = await grown(10000, () => model.run(inputs));
    await model.close();
    const models = await grown(200, async () => {{
      const model = await edge.load(at, {options});
      await model.run(inputs);
      await model.close();
    }});
    console.log(JSON.stringify([runs, models]));
    """, "--expose-gc", timeout_s=300)  # fmt: skip
    runs, models = json.loads(lines[0])
    assert runs["heap"] < 1 and runs["rss"] < 16, runs
    assert models["heap"] < 4 and models["rss"] < 48, models
