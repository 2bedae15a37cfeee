// A model in the calling thread: run() returns when it has run. For those who are in a worker already.

import { checkSizes } from "./compile.mjs";
import { maySleep } from "./engine.mjs";
import { LoadError, RunError } from "./errors.mjs";
import { ARRAYS, checkInputs } from "./ports.mjs";
import { ALIGN, PAGE_BYTES, STACK_BYTES, startThread } from "./threads.mjs";

/** An instance with its weights, arena, inputs and outputs placed after __heap_base. loadHere() makes them. */
export class SyncModel {
  #exports;
  #memory;
  #at; // addresses: weights, arena, inputs.., outputs.., input pointers, output pointers
  #stacks; // of the other threads, one behind the other
  #ends = []; // functions that end them

  /** `memory` is the shared one where there are more threads than one. Weights are still to come. Throws LoadError. */
  constructor(manifest, build, threads, exports, memory = exports.memory) {
    this.manifest = manifest;
    this.isa = build.isa;
    this.threads = threads;
    this.why = [];
    /** Of a language model that has one: its content. */
    this.tokenizerFile = undefined;
    this.inputs = manifest.inputs;
    this.outputs = manifest.outputs;
    /** How many kernel calls a run is made of. */
    this.calls = 1 + Math.max(-1, ...manifest.layers.flatMap((layer) => layer.calls));
    this.#exports = exports;
    this.#memory = memory;
    checkSizes(manifest, exports, memory);
    this.#place();
  }

  #place() {
    const { inputs, outputs, manifest, threads } = this;
    const memory = this.#memory;
    const ports = [...inputs, ...outputs].map((port) => port.bytes);
    const arena = manifest.arena_bytes + (threads - 1) * manifest.scratch_bytes;
    const sizes = [manifest.weights_bytes, arena, ...ports, 4 * inputs.length, 4 * outputs.length];
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
    const pointers = this.#at.slice(2, 2 + inputs.length);
    new Uint32Array(memory.buffer, this.#at.at(-2), inputs.length).set(pointers);
    new Uint32Array(memory.buffer, this.#at.at(-1), outputs.length).set(this.#at.slice(2 + inputs.length, -2));
  }

  /** Once, with more than one thread: `started` is called after each. Throws LoadError. */
  async startThreads(module, signal, started) {
    this.#exports.model_team(this.threads, maySleep() ? 1 : 0);
    const starting = [];
    for (let part = 1; part < this.threads; part++) {
      const job = { module, memory: this.#memory, part, stackEnd: this.#stacks + part * STACK_BYTES };
      starting.push(startThread(job, signal).then((end) => {
        this.#ends.push(end);
        started();
      }));
    }
    const failure = (await Promise.allSettled(starting)).find(({ status }) => status === "rejected");
    if (failure) throw failure.reason;
  }

  /** The bytes where weights belong. */
  get weights() {
    return new Uint8Array(this.#open().buffer, this.#at[0], this.manifest.weights_bytes);
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
    this.#open();
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
    this.#fill(arrays);
    this.execute();
    return Object.fromEntries(Object.entries(this.outputViews()).map(([name, view]) => [name, view.slice()]));
  }

  /**
   * Time runs on `arrays`: {wallMs: [of each run], callMs: [of each run: [of each kernel call]]}, the latter of runs of
   * their own. Throws InputError, RunError.
   */
  time(arrays, { numRuns = 20, warmupRuns = 3, perLayer = false, maxSecs = Infinity } = {}) {
    this.#fill(arrays);
    for (let i = 0; i < warmupRuns; i++) this.execute();
    const wallMs = [], callMs = [], begin = performance.now();
    for (let i = 0; i < numRuns; i++) {
      const before = performance.now();
      this.execute();
      wallMs.push(performance.now() - before);
      if (perLayer) callMs.push(this.timeCalls(() => performance.now()));
      if (performance.now() - begin >= 1e3 * maxSecs) break;
    }
    return perLayer ? { wallMs, callMs } : { wallMs };
  }

  /** What each kernel call takes: differences of consecutive readings of a clock add up, however coarse it is. */
  timeCalls(now) {
    const times = [];
    let before = now();
    for (let call = 0; call < this.calls; call++) {
      this.execute(call, call + 1);
      const after = now();
      times.push(after - before);
      before = after;
    }
    return times;
  }

  /** End the other threads, and let the memory go. */
  async close() {
    const ends = this.dismiss();
    await Promise.all(ends.map((end) => end()));
  }

  /** What it takes to call for nothing and to read the clock, the mean of many: part of every time of timeCalls(). */
  timeEmptyCall(now, count = 2000) {
    let took = 0;
    for (const turn of [1, 2]) { // the first turn is for the compiler
      const begin = now();
      for (let i = 0; i < count * turn; i++) {
        this.execute(0, 0);
        now();
      }
      took = (now() - begin) / (count * turn);
    }
    return took;
  }

  /** Let the memory go, and the other threads leave their work: what is left are functions that end their workers. */
  dismiss() {
    const ends = this.#ends.splice(0);
    if (ends.length > 0 && ends.length === this.threads - 1) this.#exports.model_team(1, 0);
    this.#exports = null;
    this.#memory = null;
    return ends;
  }

  /** The bytes in which layers write what is no output: of the last run, as far as later layers left it there. */
  get arena() {
    return new Uint8Array(this.#open().buffer, this.#at[1], this.manifest.arena_bytes);
  }

  #open() {
    if (this.#memory === null) throw new RunError("closed", "the model is closed", "load it again");
    return this.#memory;
  }

  #fill(arrays) {
    this.#open();
    checkInputs(this.inputs, arrays);
    const views = this.inputViews();
    for (const port of this.inputs) views[port.name].set(arrays[port.name]);
  }

  #views(ports, first) {
    const { buffer } = this.#open(); // looked up each time: it may have grown
    return Object.fromEntries(ports.map((port, i) => {
      const type = ARRAYS[port.dtype];
      return [port.name, new type(buffer, this.#at[first + i], port.bytes / type.BYTES_PER_ELEMENT)];
    }));
  }
}
