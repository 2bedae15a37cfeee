"""Models behind promises, in the calling thread or a worker of node.js: runs, threads, ends, times and memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.web import digits, digits_expected

from .node_scripts import WORKER, Built, run


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
def test_arrays_stay_with_the_caller(built: Built, worker: str) -> None:
    """Also those whose slice() copies nothing, like that of Buffer in node.js."""
    run(built("wasm"), f"""
    class Shared extends Float32Array {{ slice() {{ return this.subarray(0); }} }}
    const given = {{ ...inputs, x: Shared.from(inputs.x) }};
    const model = await edge.load(at, {{ worker: {worker}, threads: 1 }});
    for (let i = 0; i < 2; i++) assert.equal((await model.run(given)).y[1], 1);
    assert.deepEqual([...given.x], [...inputs.x]);
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
