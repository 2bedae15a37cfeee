// Continues texts with a WebAssembly bundle in node.js, with the options of the program in arm64 bundles (generate.c):
// tokens as raw little-endian files, one JSON document on stdout. Every failure is words on stderr and exit code 2.
import { readFileSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { decimal, fail, parseAs, SWITCH, TEXT, told, whole } from "./program.mjs";

const HELP = `usage: node generator.mjs --bundle NAME.edge --input TOKENS.bin [--output OUT.bin]

  --bundle FOLDER, --threads N, --input FILE, --output FILE, --max-tokens N, --positions N, --stop TOKEN, --temperature T,
  --top-p P, --seed N, --score W, --dense, --stream, --json: as the program in arm64 bundles has them
  --help             print this
`;
const KINDS = { // as in request.h
  bundle: TEXT, input: TEXT, output: TEXT, threads: whole(256), "max-tokens": whole(2 ** 30), positions: whole(2 ** 30),
  stop: { ...whole(2 ** 31 - 1), many: true }, temperature: decimal(1000), "top-p": decimal(1), seed: whole(2 ** 31 - 1),
  score: whole(2 ** 30), dense: SWITCH, stream: SWITCH, json: SWITCH, help: SWITCH,
};

function parse(words) {
  const options = parseAs(KINDS, { threads: 1, "max-tokens": 100, temperature: 0, "top-p": 1, seed: 0 }, words);
  if (options.help) return options;
  for (const name of ["bundle", "input"]) if (options[name] === undefined) fail(`option --${name} is missing (see --help)`);
  return options;
}

function readTokens(path) {
  let bytes;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    fail(`cannot open ${path}: ${error.message}`);
  }
  if (bytes.length === 0 || bytes.length % 4) fail(`no tokens in ${path}`);
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readInt32LE(4 * i));
}

/** Of the whole file, whose windows are scored one by one. Throws Failure, in the words of the other program. */
function checkTokens(path, tokens, { vocabulary }) {
  const i = tokens.findIndex((token) => token < 0 || token >= vocabulary);
  if (i < 0) return;
  fail(`tokens are 0 to ${vocabulary - 1}, number ${i + 1} of ${path} is ${tokens[i]}: is it the right tokenizer?`);
}

function write(path, array) {
  try {
    writeFileSync(`${path}.tmp`, new Uint8Array(array.buffer));
    renameSync(`${path}.tmp`, path);
  } catch (error) {
    fail(`cannot write ${path}: ${error.message}`);
  }
}

/** Losses of all windows, and the cost of all together. */
async function scored(score, model, tokens, options) {
  const width = options.score, windows = tokens.length / width;
  const { context } = model.manifest.decoder;
  if (width > context + 1) fail(`--score: windows of ${width} tokens, the context is ${context} (and one after it)`);
  if (width < 2 || !Number.isInteger(windows)) fail("the input is not whole windows of --score tokens");
  const losses = new Float32Array(windows * (width - 1)), sums = [];
  let decoded = 0, decodeMs = 0;
  const onCost = (cost) => {
    cost.sums.forEach((x, i) => sums[i] = (sums[i] ?? 0) + x);
    decoded += cost.decoded;
    decodeMs += cost.decodeMs;
  };
  for (let w = 0; w < windows; w++) {
    const part = tokens.slice(w * width, (w + 1) * width);
    losses.set(await score(model, part, { dense: options.dense, onCost }), w * (width - 1));
  }
  if (options.output) write(options.output, losses);
  return { promptMs: 0, decoded, decodeMs, sums, stopped: "scored", made: [] };
}

async function continued(generate, model, prompt, options) {
  const { temperature, seed, dense, stop: stops } = options, made = [];
  const { context } = model.manifest.decoder, { positions = context } = options;
  if (positions > context) fail(`--positions: ${positions} tokens, the context is ${context}`);
  if (positions && prompt.length > context) {
    fail(`the prompt has ${prompt.length} tokens, the context is ${context}: ` +
      "shorten it, or let the oldest tokens be forgotten: --positions 0");
  }
  if (positions && prompt.length > positions) fail("the prompt is longer than --positions");
  let cost;
  const texts = generate(model, prompt, {
    temperature, seed, dense, stops, topP: options["top-p"], maxTokens: options["max-tokens"],
    sliding: positions === 0, onCost: (now) => cost = now,
  });
  for await (const token of texts) {
    made.push(token);
    if (options.stream) writeSync(1, `${token}\n`);
    if (positions && !cost.stopped && prompt.length + made.length > positions) {
      cost = { ...cost, stopped: "context" };
      break;
    }
  }
  if (options.output) write(options.output, Int32Array.from(made));
  return { ...cost, made };
}

async function main(words) {
  const options = parse(words);
  if (options.help) return void process.stdout.write(HELP);
  const prompt = readTokens(options.input);
  const from = (name) => import(pathToFileURL(join(options.bundle, name)).href);
  let loader, texts;
  try {
    [loader, texts] = [await from("model.mjs"), await from("generate.mjs")];
  } catch (error) {
    fail(`cannot load the modules of ${options.bundle}: ${error.message}`);
  }
  const model = await loader.loadHere(options.bundle, { threads: options.threads, strict: true });
  checkTokens(options.input, prompt, model.manifest.decoder);
  const found = options.score === undefined ? await continued(texts.generate, model, prompt, options)
    : await scored(texts.score, model, prompt, options);
  const { isa, threads, manifest } = model;
  await model.close();
  const ns = (ms) => Math.round(ms * 1e6);
  const document = {
    model: manifest.name, isa, threads, prompt_tokens: prompt.length, prompt_ns: ns(found.promptMs),
    decoded: found.decoded, decode_ns: ns(found.decodeMs), stopped: found.stopped, active: Array.from(found.sums),
    tokens: found.made,
  };
  if (options.json) process.stdout.write(`${JSON.stringify(document)}\n`);
  else if (found.stopped === "context") {
    process.stderr.write("ended by a full context: --positions 0 goes on, and forgets the oldest tokens\n");
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`generator: ${told(error)}\n`);
  process.exitCode = 2;
}
