// Texts of a language model, token by token; depends on nothing but a loaded model.
//
//   import { load } from "./lm.edge/model.mjs";
//   import { generate } from "./lm.edge/generate.mjs";
//   const model = await load();
//   for await (const token of generate(model, prompt, { maxTokens: 200 })) ...
//
// Tokens are numbers; what they mean, the tokenizer of the bundle says (manifest.decoder.tokenizer).

import { InputError } from "./errors.mjs";

// The input `tokens`, as in decoder.h: these, then the tokens.
const POSITION = 0, COUNT = 1, FLAGS = 2, TARGET = 3, SEED = 4, HEADER = 5;
const WANTED = 1, ALL_INPUTS = 2;
const TURN_MS = 8;
const SITES = ["q", "k", "v", "o", "gate", "up", "down"];

/**
 * Continue `prompt`, an array of tokens, on a Model or a SyncModel that is used for nothing else meanwhile.
 *
 * options.maxTokens (100); options.stops: tokens that end the text, those of the model unless given;
 * options.temperature (0: the likeliest token each time), options.topP (1), options.seed (0);
 * options.sliding: where the context is full, forget the oldest tokens rather than end;
 * options.dense: no rule of activation sparsity holds;
 * options.signal: an AbortSignal that ends the text;
 * options.onCost: gets, after each token, {promptTokens, promptMs, decoded, decodeMs, active, bytesPerToken, stopped}:
 *   `active`, means in the order of manifest.decoder.sites; `stopped` is length, stop, context or aborted at the end.
 *
 * Throws InputError, RunError.
 */
export async function* generate(model, prompt, options = {}) {
  const facts = factsOf(model);
  const { maxTokens = 100, stops = facts.stops ?? [], sliding = false, dense = false, signal } = options;
  checkOptions(options);
  checkPrompt(facts, prompt, sliding);
  const runner = new Runner(model, facts, options);
  const cost = new Cost(facts, prompt.length);
  let position = 0, token = 0, begin = performance.now();
  while (position < prompt.length && !signal?.aborted) {
    const part = prompt.slice(position, position + facts.chunk);
    const last = position + part.length === prompt.length;
    token = (await runner.run(position, part, ALL_INPUTS | (last ? WANTED : 0))).token[0];
    position += part.length;
  }
  cost.promptMs = performance.now() - begin;
  begin = performance.now();
  const flags = WANTED | (dense ? ALL_INPUTS : 0);
  for (let count = 0; ; ) {
    if (signal?.aborted) cost.stopped = "aborted";
    else if (stops.includes(token)) cost.stopped = "stop";
    if (!cost.stopped) {
      count++;
      if (count === maxTokens) cost.stopped = "length";
      else if (position >= facts.context && !sliding) cost.stopped = "context";
      options.onCost?.(cost.told());
      const spent = performance.now();
      yield token;
      begin += performance.now() - spent; // what the reader takes is not the model's
    } else {
      options.onCost?.(cost.told());
    }
    if (cost.stopped) return;
    const out = await runner.run(position++, [token], flags);
    token = out.token[0];
    cost.add(out.active, performance.now() - begin);
  }
}

/**
 * -log of the probability of every token of `tokens` but the first, after those before it: a Float32Array.
 * options.dense as of generate(); options.onCost gets what it cost, at the end. Throws InputError, RunError.
 */
export async function score(model, tokens, options = {}) {
  const facts = factsOf(model);
  checkPrompt(facts, tokens.slice(0, -1), false);
  checkTokens(facts, tokens); // the last one, too: to the model a target of -1 is none
  const runner = new Runner(model, facts, options), cost = new Cost(facts, 0);
  const losses = new Float32Array(tokens.length - 1), flags = WANTED | (options.dense ? ALL_INPUTS : 0);
  const begin = performance.now();
  for (let i = 0; i < losses.length; i++) {
    const out = await runner.run(i, [tokens[i]], flags, tokens[i + 1]);
    losses[i] = out.loss[0];
    cost.add(out.active, performance.now() - begin);
  }
  cost.stopped = "scored";
  options.onCost?.(cost.told());
  return losses;
}

function factsOf(model) {
  const facts = model.manifest.decoder;
  if (!facts) throw new InputError("decoder", "the model is not a language model", "run() runs it");
  return facts;
}

function fail(what, hint) {
  throw new InputError("prompt", what, hint);
}

/** As on the command line, in its words (Request in generation.py). */
function checkOptions({ maxTokens = 100, temperature = 0, topP = 1, seed = 0, stops = [] }) {
  const numbers = [["maxTokens", maxTokens, 1, 2 ** 30], ["temperature", temperature, 0, 1000], ["seed", seed, 0, 2 ** 31 - 1]];
  for (const [name, value, least, most] of numbers) {
    const known = name === "temperature" ? typeof value === "number" : Number.isInteger(value);
    if (!(known && value >= least && value <= most)) fail(`${name}: ${value}`, `give ${least} to ${most}`);
  }
  if (!(topP > 0 && topP <= 1)) fail(`topP: ${topP}`, "give more than 0, and at most 1");
  if (stops.length > 64) fail(`${stops.length} tokens that end the text`, "give 64 at most");
}

function checkPrompt(facts, prompt, sliding) {
  if (prompt.length === 0) fail("the prompt is empty", "give some text, or the token that texts begin with");
  if (prompt.length > facts.context && !sliding) {
    fail(`the prompt has ${prompt.length} tokens, the context is ${facts.context}`, "shorten it, or set `sliding`");
  }
  checkTokens(facts, prompt);
}

function checkTokens({ vocabulary }, tokens) {
  const i = tokens.findIndex((token) => !(Number.isInteger(token) && token >= 0 && token < vocabulary));
  if (i >= 0) fail(`tokens are 0 to ${vocabulary - 1}, number ${i + 1} is ${tokens[i]}`, "is it the right tokenizer?");
}

/** Runs a few tokens; a model in this thread without copying anything. */
class Runner {
  #model;
  #inputs;
  #turn = performance.now();

  constructor(model, facts, { temperature = 0, topP = 1, seed = 0 }) {
    this.#model = model.here ?? model;
    const here = typeof this.#model.execute === "function";
    this.#inputs = here ? this.#model.inputViews()
      : { tokens: new Int32Array(HEADER + facts.chunk), sampling: new Float32Array(2) };
    this.#inputs.sampling.set([temperature, topP]);
    this.#inputs.tokens[SEED] = seed;
    this.here = here;
  }

  async run(position, tokens, flags, target = -1) {
    const header = this.#inputs.tokens;
    header[POSITION] = position;
    header[COUNT] = tokens.length;
    header[FLAGS] = flags;
    header[TARGET] = target;
    header.set(tokens, HEADER);
    if (!this.here) return this.#model.run(this.#inputs);
    if (performance.now() - this.#turn > TURN_MS) {
      await othersTurn();
      this.#turn = performance.now();
    }
    this.#model.execute();
    return this.#model.outputViews();
  }
}

/** Lets timers and events be heard, so that a signal can end a text that this thread is busy with. */
function othersTurn() {
  if (typeof setImmediate === "function") return new Promise((resolve) => { setImmediate(resolve); });
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}

/** What generating has cost so far. */
class Cost {
  #facts;
  #sum;

  constructor(facts, promptTokens) {
    Object.assign(this, { promptTokens, promptMs: 0, decoded: 0, decodeMs: 0, stopped: "" });
    this.#facts = facts;
    this.#sum = new Float64Array(facts.blocks * SITES.length);
  }

  add(active, decodeMs) {
    for (let i = 0; i < active.length; i++) this.#sum[i] += active[i];
    this.decoded++;
    this.decodeMs = decodeMs;
  }

  told() {
    const { promptTokens, promptMs, decoded, decodeMs, stopped } = this, { sites } = this.#facts;
    const active = sites.map(({ block, site }) => this.#sum[block * SITES.length + SITES.indexOf(site)] / (decoded || 1));
    const bytesPerToken = sites.reduce(
      (sum, x, i) => sum + x.unit_bytes * active[i] + (active[i] < x.entries ? x.low_bytes : 0), this.#facts.always_bytes);
    const sums = this.#sum;
    return { promptTokens, promptMs, decoded, decodeMs, active, sums, bytesPerToken, stopped };
  }
}
