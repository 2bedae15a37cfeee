// Loads a WebAssembly bundle in browsers and node.js; depends on nothing.
//
//   import { load } from "./model.mjs";
//   const model = await load(new URL("./kws.edge/", import.meta.url));
//   const { probabilities } = await model.run({ input_1: new Float32Array(490) });
//
// Arrays are flat, row-major; `model.inputs` and `model.outputs` say name, shape and dtype.
// With load(base, { threads: 2 }) this file is also what its workers run.

export const ARRAYS = {
  f32: Float32Array, i64: BigInt64Array, i32: Int32Array, i8: Int8Array, u8: Uint8Array, bool: Uint8Array,
};
const SCHEMA_VERSION = 1;
const ALIGN = 64;
const PAGE_BYTES = 65536;
const STACK_BYTES = 131072; // of a thread, as in build.py
const MAX_THREADS = 256;
const WORKER_NAME = "edgesparse-worker";
const ON_NODE = typeof process !== "undefined" && Boolean(process.versions?.node);

/** Something the caller can act on. `code` is for programs, `hint` says what to try. */
export class EdgeSparseError extends Error {
  constructor(code, message, hint = "", cause = undefined) {
    super(hint ? `${message}\n  hint: ${hint}` : message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = hint;
  }
}
/** The bundle cannot be fetched, is damaged, or this engine cannot run it. Codes: fetch, manifest,
 * damaged, simd, relaxed-simd, compile, memory, threads. */
export class LoadError extends EdgeSparseError {}
/** An input is missing, unknown, or of another type or length. Codes: missing, unknown, type, length. */
export class InputError extends EdgeSparseError {}
/** The model stopped in the middle. Codes: trap, closed. */
export class RunError extends EdgeSparseError {}

// (module (func (result v128) i32.const 0 i8x16.splat)) and the same with i32x4.relaxed_trunc_f32x4_s.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11];
const RELAXED_SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 11, 1, 9, 0, 65, 0, 253, 15, 253, 129, 2, 11,
];

/** What this engine can run: `{simd, relaxedSimd, threads}`. */
export function features() {
  const valid = (bytes) => WebAssembly.validate(new Uint8Array(bytes));
  return { simd: valid(SIMD), relaxedSimd: valid(RELAXED_SIMD), threads: whyNoThreads() === "" };
}

/** What keeps workers from sharing a memory, or nothing. */
function whyNoThreads() {
  if (globalThis.crossOriginIsolated === false) return "the page is not cross-origin isolated";
  if (typeof SharedArrayBuffer === "undefined") return "this engine has no SharedArrayBuffer";
  if (!ON_NODE && typeof Worker === "undefined") return "this engine has no workers";
  return "";
}

/**
 * Load the bundle folder at `base`: a URL, or in node.js also a path.
 *
 * options.verify: compare every file with its SHA-256 in the manifest (default false; needs a secure
 *   context in browsers).
 * options.read: async (name) => Uint8Array, for bundles that come from elsewhere.
 * options.threads: how many run the model (default 1), the calling one among them; 0: one for each CPU. More than one
 *   needs SharedArrayBuffer, which pages have when they are served with the headers
 *   Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp. In the main thread of a
 *   page waiting is spinning: there, load in a Worker. close() ends them.
 *
 * Throws LoadError.
 */
export async function load(base, options = {}) {
  const read = options.read ?? reader(base);
  const threads = await threadCount(options.threads ?? 1);
  const manifest = parseManifest(await read("manifest.json"));
  const get = async (name) => {
    const bytes = await read(name);
    if (options.verify) await verify(manifest, name, bytes);
    return bytes;
  };
  const [code, weights] = await Promise.all([
    get(threads > 1 ? "model_threads.wasm" : "model.wasm"),
    manifest.weights_bytes > 0 ? get("weights.bin") : new Uint8Array(0),
  ]);
  if (weights.length !== manifest.weights_bytes) {
    throw new LoadError("damaged", `weights.bin has ${weights.length} bytes, expected ${manifest.weights_bytes}`,
      "copy the bundle again");
  }
  if (threads === 1) return new Model(manifest, (await instantiate(manifest, code, {})).instance, weights);
  const memory = sharedMemory(manifest, code.length, threads);
  const { module, instance } = await instantiate(manifest, code, { env: { memory } });
  const model = new Model(manifest, instance, weights, threads, memory);
  try {
    await model.startWorkers(module);
  } catch (cause) {
    model.close();
    throw cause;
  }
  return model;
}

async function cpuCount() {
  if (!ON_NODE) return navigator.hardwareConcurrency;
  const os = await import("node:os");
  return os.availableParallelism?.() ?? os.cpus().length;
}

async function threadCount(threads) {
  if (!Number.isInteger(threads) || threads < 0 || threads > MAX_THREADS) {
    throw new LoadError("threads", `${threads} is not a number of threads`, `1 to ${MAX_THREADS}, or 0 for every CPU`);
  }
  if (threads === 1) return 1;
  const cpus = await cpuCount();
  const count = threads || Math.min(cpus, MAX_THREADS);
  if (count === 1) return 1;
  const why = whyNoThreads();
  if (why) {
    throw new LoadError("threads", `${count} threads, but ${why}`,
      "serve the page with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp, "
        + "or load with threads: 1");
  }
  if (count > cpus) {
    throw new LoadError("threads", `${count} threads, but there ${cpus === 1 ? "is 1 CPU" : `are ${cpus} CPUs`}`,
      "more threads than CPUs would wait for each other; give 0 to use every CPU");
  }
  return count;
}

/** Room for everything that Model places; what the module itself needs is its stack, and less than its own size. */
function sharedMemory(manifest, codeBytes, threads) {
  const ports = [...manifest.inputs, ...manifest.outputs].reduce((sum, port) => sum + port.bytes + ALIGN + 4, 0);
  const own = STACK_BYTES + codeBytes + 2 * PAGE_BYTES;
  const bytes = own + manifest.weights_bytes + manifest.arena_bytes + ports
    + threads * (manifest.scratch_bytes + STACK_BYTES + ALIGN);
  const pages = Math.ceil(bytes / PAGE_BYTES);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages + 16, shared: true });
  } catch (cause) {
    throw new LoadError("memory", `the model needs ${bytes} bytes of shared WebAssembly memory`,
      "close other pages, or use a smaller model or threads: 1", cause);
  }
}

/** An instance with its weights, arena, inputs and outputs placed after __heap_base. */
export class Model {
  #exports;
  #memory;
  #at; // addresses: weights, arena, inputs.., outputs.., input pointers, output pointers
  #stacks; // of the workers, one behind the other
  #workers = [];

  constructor(manifest, instance, weights, threads = 1, memory = instance.exports.memory) {
    this.manifest = manifest;
    this.threads = threads;
    this.inputs = manifest.inputs;
    this.outputs = manifest.outputs;
    this.#exports = instance.exports;
    this.#memory = memory;
    const { inputs, outputs } = this;
    const sizes = [weights.length, manifest.arena_bytes + (threads - 1) * manifest.scratch_bytes, ...[...inputs, ...outputs].map((port) => port.bytes),
      4 * inputs.length, 4 * outputs.length];
    checkSizes(manifest, this.#exports, memory, weights.length);
    let end = Number(this.#exports.__heap_base.value);
    this.#at = sizes.map((bytes) => {
      const start = Math.ceil(end / ALIGN) * ALIGN;
      end = start + bytes;
      return start;
    });
    this.#stacks = Math.ceil(end / ALIGN) * ALIGN;
    end = this.#stacks + (threads - 1) * STACK_BYTES;
    const missing = end - memory.buffer.byteLength;
    if (missing > 0) {
      try {
        memory.grow(Math.ceil(missing / PAGE_BYTES));
      } catch (cause) {
        throw new LoadError("memory", `the model needs ${end} bytes of WebAssembly memory`,
          "close other pages, or use a smaller model", cause);
      }
    }
    new Uint8Array(memory.buffer).set(weights, this.#at[0]);
    const pointers = [...this.#at.slice(2, 2 + inputs.length)];
    new Uint32Array(memory.buffer, this.#at.at(-2), inputs.length).set(pointers);
    new Uint32Array(memory.buffer, this.#at.at(-1), outputs.length).set(this.#at.slice(2 + inputs.length, -2));
  }

  /** Once, after the constructor, with more than one thread. Throws LoadError. */
  async startWorkers(module) {
    this.#exports.model_team(this.threads, maySleep() ? 1 : 0);
    const ready = [];
    for (let part = 1; part < this.threads; part++) {
      const job = { module, memory: this.#memory, part, stackEnd: this.#stacks + part * STACK_BYTES };
      const worker = await newWorker();
      this.#workers.push(worker);
      ready.push(begun(worker, job));
    }
    await Promise.all(ready);
  }

  /** What run() will copy into: views of WebAssembly memory, by input name. */
  inputViews() {
    return this.#views(this.inputs, 2);
  }

  /** What the last execute() left: views that the next run overwrites, by output name. */
  outputViews() {
    return this.#views(this.outputs, 2 + this.inputs.length);
  }

  /** Run on what is in inputViews(), copying nothing. Throws RunError. */
  execute() {
    if (this.#exports === null) throw new RunError("closed", "the model is closed");
    const at = this.#at;
    let code;
    try {
      code = this.#exports.model_run(at[0], at[1], at.at(-2), at.at(-1));
    } catch (cause) {
      throw new RunError("trap", `model_run stopped: ${cause.message}`, "compile the model again", cause);
    }
    if (code !== 0) throw new RunError("trap", `model_run returned ${code}`, "compile the model again");
  }

  /** {name: TypedArray} -> {name: TypedArray}: new arrays each time. Throws InputError, RunError. */
  run(arrays) {
    this.#check(arrays);
    if (this.#exports === null) throw new RunError("closed", "the model is closed");
    const views = this.inputViews();
    for (const port of this.inputs) views[port.name].set(arrays[port.name]);
    this.execute();
    return Object.fromEntries(Object.entries(this.outputViews()).map(([name, view]) => [name, view.slice()]));
  }

  /** End the workers, and let the memory go. */
  close() {
    for (const worker of this.#workers) worker.terminate();
    this.#workers = [];
    this.#exports = null;
  }

  #views(ports, first) {
    const { buffer } = this.#memory; // looked up each time: another instance may have made it grow
    return Object.fromEntries(ports.map((port, i) => {
      const type = ARRAYS[port.dtype];
      return [port.name, new type(buffer, this.#at[first + i], port.bytes / type.BYTES_PER_ELEMENT)];
    }));
  }

  #check(arrays) {
    const known = this.inputs.map((port) => `'${port.name}'`).join(", ");
    for (const name of Object.keys(arrays)) {
      if (!this.inputs.some((port) => port.name === name)) {
        throw new InputError("unknown", `the model has no input '${name}'`, `its inputs are: ${known}`);
      }
    }
    for (const port of this.inputs) {
      const type = ARRAYS[port.dtype];
      const length = port.bytes / type.BYTES_PER_ELEMENT;
      const expected = `expected a ${type.name} of ${length} values (shape [${port.shape.join(", ")}])`;
      const array = arrays[port.name];
      if (array === undefined) throw new InputError("missing", `input '${port.name}' is missing; ${expected}`);
      if (!(array instanceof type)) {
        const given = array === null ? "null" : array.constructor?.name ?? typeof array;
        throw new InputError("type", `input '${port.name}': ${expected}, got ${given}`);
      }
      if (array.length !== length) {
        throw new InputError("length", `input '${port.name}': ${expected}, got ${array.length} values`);
      }
    }
  }
}

function parseManifest(bytes) {
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new LoadError("manifest", "manifest.json is not JSON", "is the address that of a bundle folder?", cause);
  }
  if (manifest.schema_version !== SCHEMA_VERSION || manifest.kind !== "wasm") {
    throw new LoadError("manifest",
      `not a WebAssembly bundle of schema version ${SCHEMA_VERSION} (it is ${manifest.kind}, ${manifest.schema_version})`,
      "edgesparse compile MODEL.onnx --device browser -o NAME.edge makes one");
  }
  return manifest;
}

/** Whether this thread may wait asleep: all may but the main one of a page. */
function maySleep() {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1);
    return true;
  } catch {
    return false;
  }
}

/** A worker that runs this very file, or on node.js the same function of it. */
async function newWorker() {
  if (!ON_NODE) return new Worker(new URL(import.meta.url), { type: "module", name: WORKER_NAME });
  const { Worker: NodeWorker } = await import("node:worker_threads");
  // import() alone works whatever kind of module the program's own options make of such text
  const code = `Promise.all([import(${JSON.stringify(import.meta.url)}), import("node:worker_threads")])
    .then(([{ work }, { parentPort }]) => {
      parentPort.once("message", (job) => work(job, (reply) => parentPort.postMessage(reply)));
    });`;
  const worker = new NodeWorker(code, { eval: true });
  worker.unref(); // a program that forgot close() ends all the same
  return worker;
}

/** Hands the worker its job; resolves when it has begun. */
function begun(worker, job) {
  return new Promise((resolve, reject) => {
    const failed = (why) => {
      reject(new LoadError("threads", `a worker does not start: ${why}`, "load with threads: 1"));
    };
    const answered = (reply) => (reply.error === undefined ? resolve() : failed(reply.error));
    if (ON_NODE) {
      worker.ref(); // until it answers
      worker.once("error", (error) => failed(error.message));
      worker.once("message", (reply) => {
        worker.unref();
        answered(reply);
      });
    } else {
      worker.onerror = (event) => failed(event.message ?? "its script cannot be loaded");
      worker.onmessage = (event) => answered(event.data);
    }
    worker.postMessage(job);
  });
}

/** What a worker does all its life: its part of every run. `reply` tells that it begins, or why it cannot. */
export async function work({ module, memory, part, stackEnd }, reply) {
  let exports;
  try {
    ({ exports } = await WebAssembly.instantiate(module, { env: { memory } }));
  } catch (error) {
    reply({ error: error.message });
    return;
  }
  exports.__stack_pointer.value = stackEnd;
  reply({});
  exports.model_worker(part);
}

async function instantiate(manifest, code, imports) {
  let module;
  try {
    module = await WebAssembly.compile(code);
  } catch (cause) {
    const { simd, relaxedSimd } = features();
    if (!simd) {
      throw new LoadError("simd", "this engine has no WebAssembly SIMD", "use a browser from 2021 or newer", cause);
    }
    if (!relaxedSimd && manifest.isas.some((isa) => isa.includes("relaxed"))) {
      throw new LoadError("relaxed-simd",
        "the bundle uses WebAssembly relaxed SIMD, which this engine does not have",
        "serve the bundle compiled with --device browser as well, and load it where features().relaxedSimd is false",
        cause);
    }
    throw new LoadError("compile", `the module does not compile: ${cause.message}`, "copy the bundle again", cause);
  }
  try {
    return { module, instance: await WebAssembly.instantiate(module, imports) };
  } catch (cause) {
    throw new LoadError("compile", `the module cannot be instantiated: ${cause.message}`, "", cause);
  }
}

/** es_the_model (model_info.h) is what the module was compiled for, whatever the manifest says. */
function checkSizes(manifest, exports, memory, weightsBytes) {
  const at = Number(exports.es_the_model?.value);
  const view = new DataView(memory.buffer);
  const u32 = (from) => view.getUint32(from, true);
  const u64 = (from) => Number(view.getBigUint64(from, true));
  const ports = (count, from) => Array.from({ length: u32(count) }, (_, i) => u64(u32(from) + 16 * i + 8));
  const sizes = (list) => list.map((port) => port.bytes);
  const compiled = [u64(at + 8), u64(at + 16), u64(at + 24), ports(at + 32, at + 40), ports(at + 36, at + 44)];
  const said = [manifest.arena_bytes, weightsBytes, manifest.scratch_bytes, sizes(manifest.inputs),
    sizes(manifest.outputs)];
  if (JSON.stringify(compiled) !== JSON.stringify(said)) {
    throw new LoadError("manifest",
      "manifest.json and the module disagree on [arena, weights, scratch, inputs, outputs] in bytes: "
        + `${JSON.stringify(said)} and ` + JSON.stringify(compiled), "compile the model again, or copy the bundle again");
  }
}

async function verify(manifest, name, bytes) {
  const digest = await globalThis.crypto.subtle.digest("SHA-256", bytes);
  const hex = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (manifest.files[name] !== hex) {
    throw new LoadError("damaged", `${name} is damaged: its SHA-256 is not the one in the manifest`,
      "copy the bundle again");
  }
}

/** async (name) => Uint8Array beneath `base`. */
function reader(base) {
  const text = String(base);
  const isUrl = /^[a-z][a-z0-9+.-]+:\/\//i.test(text) || base instanceof URL;
  if (ON_NODE && (!isUrl || text.startsWith("file:"))) {
    return async (name) => {
      const [fs, path, url] = await Promise.all([import("node:fs/promises"), import("node:path"), import("node:url")]);
      const folder = isUrl ? url.fileURLToPath(text) : text;
      try {
        return new Uint8Array(await fs.readFile(path.join(folder, name)));
      } catch (cause) {
        throw new LoadError("fetch", `${path.join(folder, name)} cannot be read: ${cause.message}`, "", cause);
      }
    };
  }
  const folder = new URL(text.endsWith("/") ? text : `${text}/`, globalThis.location?.href);
  return async (name) => {
    const url = new URL(name, folder);
    let response;
    try {
      response = await fetch(url);
    } catch (cause) {
      throw new LoadError("fetch", `${url} cannot be fetched: ${cause.message}`, "", cause);
    }
    if (!response.ok) throw new LoadError("fetch", `${url} cannot be fetched: HTTP status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  };
}

if (typeof WorkerGlobalScope !== "undefined" && globalThis instanceof WorkerGlobalScope && globalThis.name === WORKER_NAME) {
  globalThis.onmessage = ({ data }) => work(data, (reply) => globalThis.postMessage(reply));
}
