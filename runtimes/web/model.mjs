// Loads a WebAssembly bundle in browsers and node.js; depends on nothing.
//
//   import { load } from "./model.mjs";
//   const model = await load(new URL("./kws.edge/", import.meta.url));
//   const { probabilities } = await model.run({ input_1: new Float32Array(490) });
//
// Arrays are flat, row-major; `model.inputs` and `model.outputs` say name, shape and dtype.
// threads.mjs is what load(base, { threads: 2 }) needs besides, errors.mjs what all of them throw.

import { InputError, LoadError, RunError } from "./errors.mjs";
import {
  ALIGN, begun, maySleep, newWorker, PAGE_BYTES, sharedMemory, STACK_BYTES, threadCount, whyNoThreads,
} from "./threads.mjs";

export * from "./errors.mjs";

export const ARRAYS = {
  f32: Float32Array, i64: BigInt64Array, i32: Int32Array, i8: Int8Array, u8: Uint8Array, bool: Uint8Array,
};
const SCHEMA_VERSION = 1;
const ON_NODE = typeof process !== "undefined" && Boolean(process.versions?.node);

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
 * options.relaxed: whether to run the build with relaxed SIMD (default: where the engine has it).
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
  const build = choose(manifest, threads, options.relaxed ?? features().relaxedSimd);
  const [code, weights] = await Promise.all([
    get(build.file),
    manifest.weights_bytes > 0 ? get("weights.bin") : new Uint8Array(0),
  ]);
  if (weights.length !== manifest.weights_bytes) {
    throw new LoadError("damaged", `weights.bin has ${weights.length} bytes, expected ${manifest.weights_bytes}`,
      "copy the bundle again");
  }
  if (threads === 1) return new Model(manifest, build.isa, (await instantiate(build, code, {})).instance, weights);
  const memory = sharedMemory(manifest, code.length, threads);
  const { module, instance } = await instantiate(build, code, { env: { memory } });
  const model = new Model(manifest, build.isa, instance, weights, threads, memory);
  try {
    await model.startWorkers(module);
  } catch (cause) {
    model.close();
    throw cause;
  }
  return model;
}

/** An instance with its weights, arena, inputs and outputs placed after __heap_base. */
export class Model {
  #exports;
  #memory;
  #at; // addresses: weights, arena, inputs.., outputs.., input pointers, output pointers
  #stacks; // of the workers, one behind the other
  #workers = [];

  constructor(manifest, isa, instance, weights, threads = 1, memory = instance.exports.memory) {
    this.manifest = manifest;
    this.isa = isa;
    this.threads = threads;
    this.inputs = manifest.inputs;
    this.outputs = manifest.outputs;
    this.#exports = instance.exports;
    this.#memory = memory;
    const { inputs, outputs } = this;
    const ports = [...inputs, ...outputs].map((port) => port.bytes);
    const arena = manifest.arena_bytes + (threads - 1) * manifest.scratch_bytes;
    const sizes = [weights.length, arena, ...ports, 4 * inputs.length, 4 * outputs.length];
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

  /**
   * Run on what is in inputViews(), copying nothing; or only kernel calls first..last-1, as manifest.layers[i].calls
   * numbers them: to time them. Throws RunError.
   */
  execute(first, last) {
    if (this.#exports === null) throw new RunError("closed", "the model is closed");
    const at = this.#at;
    let code;
    try {
      const { model_run: run, model_calls: calls } = this.#exports;
      const places = [at[0], at[1], at.at(-2), at.at(-1)];
      code = first === undefined ? run(...places) : calls(first, last, ...places);
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

  /** The bytes in which layers write what is no output: of the last run, as far as later layers left it there. */
  get arena() {
    return new Uint8Array(this.#memory.buffer, this.#at[1], this.manifest.arena_bytes);
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

/** Of manifest.modules, which list the best first: the one to run. Throws LoadError. */
function choose(manifest, threads, relaxed) {
  const fitting = (manifest.modules ?? []).filter((build) => build.threads === threads > 1);
  if (fitting.length === 0) {
    throw new LoadError("manifest", "the bundle lists no module for this", "compile the model again");
  }
  return fitting.find((build) => relaxed || !build.isa.includes("relaxed")) ?? fitting[0];
}

async function instantiate(build, code, imports) {
  let module;
  try {
    module = await WebAssembly.compile(code);
  } catch (cause) {
    const { simd, relaxedSimd } = features();
    if (!simd) {
      throw new LoadError("simd", "this engine has no WebAssembly SIMD", "use a browser from 2021 or newer", cause);
    }
    if (!relaxedSimd && build.isa.includes("relaxed")) {
      throw new LoadError("relaxed-simd",
        "the bundle uses WebAssembly relaxed SIMD, which this engine does not have",
        "compile with --device browser: such a bundle has a build for every engine",
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
