// Language models: text in, text out, piece by piece. The entry of their bundles.
//
//   import { load } from "./lm.edge/index.mjs";
//   const lm = await load();
//   for await (const piece of lm.generate("def read_file(", { maxTokens: 200, temperature: 0.8, seed: 1 })) ...
//
// Types: language.d.ts.

import { ON_NODE } from "./engine.mjs";
import { InputError, LoadError, RunError } from "./errors.mjs";
import { generate } from "./generate.mjs";
import { loadBeside as loadModel, loadHereBeside as loadModelHere } from "./model.mjs";
import { Characters, tokenizerOf } from "./tokenizer.mjs";
import { nodeWorker } from "./workers.mjs";

export { EdgeSparseError, features, InputError, LoadError, RunError, whyNoThreads } from "./model.mjs";

const BESIDE = import.meta.url.replace(/[^/]*$/, ""); // not by new URL(): bundlers would look for a file

/** A loaded language model. It writes one text at a time. */
export class LanguageModel {
  #model;
  #writing = null; // the text whose turn it is
  #last = null; // the one that was begun last
  #cost = null;
  #tokens = [];

  /** `model`: a Model or a SyncModel. Throws LoadError: of its tokenizer. */
  constructor(model) {
    const { manifest, isa, threads, why, backend, tokenizerFile } = model;
    this.tokenizer = tokenizerOf(manifest.decoder, tokenizerFile);
    Object.assign(this, { manifest, isa, threads, why, backend });
    /** How many tokens of a text can be read, its beginning included; it ends with one more, which is not. */
    this.context = manifest.decoder.context;
    this.#model = model;
  }

  /** The tokens of a text, after the one that texts begin with, where the model has one. Throws InputError. */
  encode(text) {
    const { bos } = this.manifest.decoder;
    return [...(bos >= 0 ? [bos] : []), ...this.tokenizer.encode(text)];
  }

  /**
   * What comes after `prompt`, in pieces of whole characters, as it comes; the generator returns why it ended: length,
   * stop, context or aborted.
   *
   * options.maxTokens (100), options.temperature (0: the likeliest token each time), options.topP (1), options.seed (0);
   * options.sliding: where the context is full, forget the oldest tokens rather than end;
   * options.dense: no rule of activation sparsity holds;
   * options.signal: an AbortSignal that ends the text;
   * options.onStats: gets, after each token or a few, what `stats` is then.
   *
   * Throws InputError; RunError, of code "busy" while another text is written.
   */
  async* generate(prompt, options = {}) {
    if (this.#writing) {
      const hint = "wait for its end, or end it: its signal or return()";
      throw new RunError("busy", "the model is writing another text", hint);
    }
    const turn = this.#writing = this.#last = {}, { signal } = options;
    let isAsked = true;
    // a reader who has stopped asking may never come back, and nothing is computed until then; otherwise the text is
    // ended by what computes it, which must not be disturbed
    const leave = () => {
      if (isAsked || this.#writing !== turn) return;
      this.#writing = null;
      this.#cost = { ...this.#cost, stopped: this.#cost.stopped || "aborted" };
    };
    signal?.addEventListener("abort", leave);
    try {
      for await (const piece of this.#pieces(prompt, options)) {
        isAsked = false;
        if (signal?.aborted) leave();
        yield piece;
        if (this.#last !== turn) return "aborted"; // the model is that of another text
        this.#writing = turn;
        isAsked = true;
      }
      return this.#cost.stopped;
    } finally {
      signal?.removeEventListener("abort", leave);
      if (this.#writing === turn) this.#writing = null;
    }
  }

  async* #pieces(prompt, options) {
    if (typeof prompt !== "string") throw new InputError("prompt", "the prompt is no text", "give a string");
    const characters = new Characters(this.tokenizer, prompt === "");
    this.#cost = null;
    this.#tokens = [];
    const onCost = (cost) => {
      this.#cost = cost;
      options.onStats?.(this.stats);
    };
    const write = this.#model.remote ? elsewhere : generate;
    for await (const token of write(this.#model, this.encode(prompt), { ...options, onCost })) {
      this.#tokens.push(token);
      const piece = characters.of(token);
      if (piece) yield piece;
    }
    const rest = characters.end();
    if (rest) yield rest;
  }

  /** The tokens of the last text, without its prompt. */
  get tokens() {
    return this.#tokens.slice();
  }

  /** What the last text has cost so far; null before the first token. */
  get stats() {
    if (this.#cost === null) return null;
    const { promptTokens, promptMs, decoded, decodeMs, active, bytesPerToken, stopped } = this.#cost;
    const { sites } = this.manifest.decoder;
    const layers = sites.map(({ block, site, entries }, i) => (
      { block, site, active: decoded ? active[i] / entries : 1 }
    ));
    const tokensPerSecond = decodeMs > 0 ? 1000 * decoded / decodeMs : 0;
    return { promptTokens, promptMs, decoded, decodeMs, tokensPerSecond, bytesPerToken, layers, finish: stopped };
  }

  /** End the workers and let the memory go. Closing twice is harmless. */
  close() {
    return this.#model.close();
  }
}

/** The language model beside this file, or in the folder at `base`; options as of load() in model.mjs. Throws LoadError. */
export function load(base, options) {
  return loadBeside({ folder: BESIDE }, base, options);
}

/** The same in the calling thread, whatever it is. Throws LoadError. */
export function loadHere(base, options) {
  return loadHereBeside({ folder: BESIDE }, base, options);
}

/** load() of a module that lies beside the files of a bundle: index.mjs, in packages. */
export async function loadBeside(beside, base, options) {
  return written(await loadModel(beside, base, options, newWorker));
}

/** As loadBeside, for loadHere(). */
export async function loadHereBeside(beside, base, options) {
  return written(await loadModelHere(beside, base, options));
}

async function newWorker() {
  if (ON_NODE) return nodeWorker(new URL("./texts.mjs", import.meta.url));
  return new Worker(new URL("./texts.mjs", import.meta.url), { type: "module", name: "edgesparse language model" });
}

/** As generate(), of a model in a worker, where the loop is, too; it ends when nobody wants more. */
async function* elsewhere(model, prompt, options) {
  const { maxTokens, temperature, topP, seed, stops, sliding, dense, signal, onCost } = options;
  const plain = { maxTokens, temperature, topP, seed, stops, sliding, dense };
  const given = { prompt, options: plain, aborted: signal?.aborted };
  const parts = [];
  let isOver = false, more = () => {};
  const wake = () => more();
  const writing = model.remote.call("generate", given, [], (part) => {
    parts.push(part);
    wake();
  });
  let isStopped = false;
  const stop = () => {
    if (isStopped) return; // by now it may be the turn of another text
    isStopped = true;
    model.remote.call("stop").catch(() => {}); // it may be gone, which `writing` tells
  };
  writing.catch(() => {}).finally(() => {
    isOver = true;
    wake();
  });
  signal?.addEventListener("abort", stop);
  try {
    for (;;) {
      while (parts.length > 0) {
        const { tokens, cost } = parts.shift();
        onCost(cost);
        yield* tokens;
      }
      if (isOver) break;
      await new Promise((resolve) => { more = resolve; });
    }
    await writing;
  } finally {
    signal?.removeEventListener("abort", stop);
    if (!isOver) stop();
    await writing.catch(() => {});
  }
}

async function written(model) {
  try {
    if (!model.manifest.decoder) {
      throw new LoadError("manifest", "the model is not a language model", "load it with model.mjs");
    }
    return new LanguageModel(model);
  } catch (error) {
    await model.close();
    throw error;
  }
}
