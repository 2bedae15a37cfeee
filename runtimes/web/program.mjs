// What a program that runs a WebAssembly bundle is made of, in node.js (runner.mjs) and in browsers (worker.mjs): the
// options of the program in arm64 bundles (main.c), the runs, and their times.

export const OPTIONS = `
  --bundle FOLDER    the bundle
  --input FILE       raw little-endian values; once per input, in the order of the manifest
  --output FILE      written once it is whole; once per output, or not at all
  --samples N        the files hold N samples one after the other (default 1)
  --num-runs R       then time R runs on the first sample (default 0)
  --warmup-runs W    untimed runs before them (default 0)
  --max-secs S       stop timing after S seconds, when at least one run was timed
  --per-layer        after each timed run another one that times every kernel call
  --threads N        run on N threads; 0: as many as there are CPUs (default 1)
  --json             print one JSON document: isa, threads, samples, wall_ns, call_ns, of which each
                     has empty_call_ns for calling and reading the clock
`;
/** What the options of any program take: nothing, a text, a text each time they are given, or numbers up to `most`. */
export const SWITCH = {}, TEXT = { text: true }, TEXTS = { text: true, many: true };
export const whole = (most) => ({ most, of: /^[0-9]{1,10}$/ });
export const decimal = (most) => ({ most, of: /^(?=\.?[0-9])[0-9]*\.?[0-9]*$/ });

const KINDS = { // as in options.h
  bundle: TEXT, input: TEXTS, output: TEXTS, samples: whole(2 ** 30), "num-runs": whole(1e7), "warmup-runs": whole(1e7),
  "max-secs": whole(1e6), threads: whole(256), json: SWITCH, "per-layer": SWITCH, help: SWITCH, version: SWITCH,
};

/** What the caller did wrong. */
export class Failure extends Error {}

export function fail(message) {
  throw new Failure(message);
}

/** What to tell of an error: of ours the message, of a bug of ours the stack. */
export function told(error) {
  const ours = error instanceof Failure || typeof error.code === "string" && typeof error.hint === "string";
  return ours ? error.message : error.stack ?? String(error);
}

/** What `words` say, beside `defaults`, where `kinds` has every option there is. Throws Failure. */
export function parseAs(kinds, defaults, words) {
  const options = { ...defaults };
  for (const [name, kind] of Object.entries(kinds)) if (kind.many) options[name] = [];
  for (let i = 0; i < words.length; i++) {
    const name = words[i].startsWith("--") ? words[i].slice(2) : "";
    if (!Object.hasOwn(kinds, name)) fail(`unknown option ${words[i]} (see --help)`);
    const kind = kinds[name];
    if (kind === SWITCH) {
      options[name] = true;
      continue;
    }
    if (i + 1 === words.length) fail(`option ${words[i]} needs a value`);
    const word = words[++i], value = kind.text ? word : Number(word);
    if (!kind.text && !(kind.of.test(word) && value <= kind.most)) fail(`not a number in range: --${name} ${word}`);
    if (kind.many) options[name].push(value);
    else options[name] = value;
  }
  return options;
}

/** The options of a program that runs samples. Throws Failure. */
export function parse(words) {
  const options = parseAs(KINDS, { samples: 1, "num-runs": 0, "warmup-runs": 0, threads: 1 }, words);
  if (options.help || options.version) return options;
  if (options.bundle === undefined) fail("option --bundle is missing (see --help)");
  if (options.samples === 0) fail("--samples must be at least 1");
  return options;
}

/** One file for each input, and for each output or for none. Throws Failure. */
export function checkPorts(model, options) {
  for (const [what, ports] of [["input", model.inputs], ["output", model.outputs]]) {
    const given = options[what].length;
    if (given < ports.length && !(what === "output" && given === 0)) fail(`no --${what} for ${ports[given].name} (see --help)`);
    if (given > ports.length) fail(`one --${what} too many: ${options[what][ports.length]}`);
  }
}

/** `bytes`, where they are those of all samples of an input. Throws Failure. */
export function checkedInput(path, bytes, port, samples) {
  if (bytes.length !== port.bytes * samples) {
    fail(`input file ${path} has ${bytes.length} bytes, expected ${port.bytes * samples} (one sample x --samples)`);
  }
  return bytes;
}

function bytesOf(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function fill(model, files, sample) {
  const views = model.inputViews();
  model.inputs.forEach((port, i) => {
    bytesOf(views[port.name]).set(files[i].subarray(sample * port.bytes, (sample + 1) * port.bytes));
  });
}

/** Run every sample; `write(index of the output, bytes, sample)` takes what each gives, before the next run. */
export function runSamples(model, files, samples, write) {
  for (let sample = 0; sample < samples; sample++) {
    fill(model, files, sample);
    model.execute();
    const views = model.outputViews();
    model.outputs.forEach((port, i) => write(i, bytesOf(views[port.name]), sample));
  }
}

/** What --json prints. `now()` is a clock: whole nanoseconds since any moment. */
export function timed(model, files, options, now) {
  fill(model, files, 0);
  for (let i = 0; i < options["warmup-runs"]; i++) model.execute();
  const zeros = options["per-layer"] ? { zeros: zerosOf(model) } : {};
  const wall = [], each = [], begin = now();
  for (let i = 0; i < options["num-runs"]; i++) {
    const before = now();
    model.execute();
    wall.push(now() - before);
    if (options["per-layer"]) each.push(model.timeCalls(now));
    if (options["max-secs"] && now() - begin >= 1e9 * options["max-secs"]) break;
  }
  return {
    model: model.manifest.name, isa: model.isa, threads: model.threads, samples: options.samples,
    wall_ns: wall, ...zeros,
    ...(options["per-layer"] ? { call_ns: each, empty_call_ns: model.timeEmptyCall(now) } : {}),
  };
}

/** How many zeros each layer writes whose output then lies in the arena as a whole, in the order of their calls. */
function zerosOf(model) {
  const layers = model.manifest.layers.filter((x) => x.held && !x.held.output && x.calls.length);
  const counts = [];
  for (let call = 0; call < model.calls; call++) {
    model.execute(call, call + 1);
    for (const { held } of layers.filter((x) => x.calls.at(-1) === call)) {
      const { buffer, byteOffset } = model.arena;
      const type = { 2: Uint16Array, 4: Uint32Array }[held.element_bytes];
      const values = new type(buffer, byteOffset + held.offset, held.planes * held.pitch);
      const sign = 2 ** (8 * held.element_bytes - 1);
      let zeros = 0;
      for (let i = 0; i < values.length; i++) {
        if (i % held.pitch < held.elements && (values[i] === 0 || values[i] === sign)) zeros++;
      }
      counts.push(zeros);
    }
  }
  return counts;
}
