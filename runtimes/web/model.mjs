// Runs a WebAssembly bundle in browsers, node.js and Deno; depends on nothing.
//
//   import { load } from "./kws.edge/model.mjs";
//   const model = await load();                 // what lies beside model.mjs; or load("kws.edge/")
//   const { probabilities } = await model.run({ input_1: new Float32Array(490) });
//
// Arrays are flat, row-major; `model.inputs` and `model.outputs` say name, shape and dtype. Types: model.d.ts.

import { IN_PAGE, title } from "./engine.mjs";
import { RunError } from "./errors.mjs";
import { placeOf } from "./place.mjs";
import { checkInputs } from "./ports.mjs";
import { loadRemote } from "./remote.mjs";

export { features, whyNoThreads } from "./engine.mjs";
export { EdgeSparseError, InputError, LoadError, RunError } from "./errors.mjs";
export { ARRAYS } from "./ports.mjs";

const BESIDE = import.meta.url.replace(/[^/]*$/, ""); // not by new URL(): bundlers would look for a file

/** A loaded model, in this thread or in a worker. load() makes them. */
export class Model {
  #runs; // {run, time, close}
  #closed = false;

  constructor({ manifest, isa, threads, why, tokenizerFile }, runs, inWorker) {
    this.manifest = manifest;
    this.tokenizerFile = tokenizerFile;
    /** The SyncModel, where there is no worker; otherwise what speaks with it. */
    this.here = inWorker ? null : runs;
    this.remote = inWorker ? runs : null;
    this.inputs = manifest.inputs;
    this.outputs = manifest.outputs;
    this.isa = isa;
    this.threads = threads;
    this.why = why;
    this.backend = `${title(isa)}, ${threads} thread${threads === 1 ? "" : "s"}${inWorker ? ", worker" : ""}`;
    this.#runs = runs;
  }

  /** {name: TypedArray} -> {name: TypedArray}: new arrays each time. Calls queue. Throws InputError, RunError. */
  async run(inputs) {
    this.#check(inputs);
    return this.#runs.run(inputs);
  }

  /** Time runs on `inputs`, where they run: {wallMs, callMs}, see SyncModel.time. Throws InputError, RunError. */
  async time(inputs, options = {}) {
    this.#check(inputs);
    return this.#runs.time(inputs, options);
  }

  /** End the workers and let the memory go; what still waits is rejected. Closing twice is harmless. */
  async close() {
    if (this.#closed) return;
    this.#closed = true;
    await this.#runs.close();
    this.#runs = null;
  }

  #check(inputs) {
    if (this.#closed) throw new RunError("closed", "the model is closed", "load it again");
    checkInputs(this.inputs, inputs);
  }
}

/**
 * Load a bundle: what lies beside this file, or in the folder at `base`: a URL, or in node.js and Deno also a path.
 *
 * options.threads: how many run the model. "auto" (default): up to 8, where memory can be shared, which pages can that
 *   are served with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp. 0: one for
 *   each CPU.
 * options.relaxed: whether to use relaxed SIMD. "auto" (default): where the engine has it.
 * options.worker: run in a Worker. The default is true in pages, where a run would stop everything else.
 * options.strict: what cannot be as asked for is an error. Otherwise it is done as well as it can, and `model.why` says
 *   why not better.
 * options.onProgress: gets {phase: "download" | "compile" | "start", loaded, total}; downloads are in bytes.
 * options.signal: an AbortSignal that ends loading.
 * options.cache: keep files in the Cache API, under the SHA-256 of the manifest (default: where there is one).
 * options.verify: compare every file with its SHA-256 in the manifest. What goes into the cache is, always.
 * options.read: async (name) => Uint8Array, for bundles that come from elsewhere.
 *
 * Throws LoadError.
 */
export function load(base, options) {
  return loadBeside({ folder: BESIDE }, base, options);
}

/** The same in the calling thread, whatever it is: a SyncModel, which runs without a promise. Throws LoadError. */
export function loadHere(base, options) {
  return loadHereBeside({ folder: BESIDE }, base, options);
}

/** load() of a module that lies beside the files of a bundle: index.mjs, in packages. `start`: as of loadRemote(). */
export async function loadBeside(beside, base, options, start) {
  const [where, given] = placeAndOptions(beside, base, options);
  const place = await placeOf(where);
  const why = [];
  if (given.worker ?? IN_PAGE) {
    try {
      const [facts, remote] = await loadRemote(place, given, start);
      return new Model(facts, remote, true);
    } catch (error) {
      if (error.code !== "worker" || (given.strict && given.worker)) throw error;
      why.push(`no worker: ${error.message.split("\n")[0]}`);
    }
  }
  const model = await loadSync(place, given);
  model.why.unshift(...why);
  return new Model(model, model, false);
}

/** As loadBeside, for loadHere(). */
export function loadHereBeside(beside, base, options) {
  return loadSync(...placeAndOptions(beside, base, options));
}

/** By import(): pages whose model is in a worker do without. */
async function loadSync(place, options) {
  const { loadHere: start } = await import("./here.mjs");
  return start(place, options);
}

/** load(options) is load(undefined, options). */
function placeAndOptions(beside, base, options = {}) {
  const isOptions = typeof base === "object" && base !== null && !(base instanceof URL);
  return isOptions ? [beside, base] : [base ?? beside, options];
}
