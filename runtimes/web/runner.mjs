// Runs a WebAssembly bundle in node.js, with the options of the program in arm64 bundles (main.c):
// raw little-endian files, samples one after the other, one JSON document on stdout. Every failure
// is words on stderr and exit code 2.
import { closeSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const HELP = `usage: node runner.mjs --bundle NAME.edge --input IN.bin ... [--output OUT.bin ...]

  --bundle FOLDER    the bundle
  --input FILE       raw little-endian values; once per input, in the order of the manifest
  --output FILE      written to FILE.tmp and renamed; once per output, or not at all
  --samples N        the files hold N samples one after the other (default 1)
  --num-runs R       then time R runs on the first sample (default 0)
  --warmup-runs W    untimed runs before them (default 0)
  --max-secs S       stop timing after S seconds, when at least one run was timed
  --per-layer        after each timed run another one that times every kernel call
  --threads N        run on N threads; 0: as many as there are CPUs (default 1)
  --json             print one JSON document: isa, threads, samples, wall_ns, call_ns
  --version          print the version of node.js and of V8
  --help             print this
`;

class Failure extends Error {}

function fail(message) {
  throw new Failure(message);
}

function parse(words) {
  const options = { input: [], output: [], samples: 1, "num-runs": 0, "warmup-runs": 0, threads: 1, json: false, "per-layer": false };
  for (let i = 0; i < words.length; i++) {
    const name = words[i].startsWith("--") ? words[i].slice(2) : "";
    if (name === "help" || name === "version") return { [name]: true };
    if (name === "json" || name === "per-layer") {
      options[name] = true;
      continue;
    }
    if (!["bundle", "input", "output", "samples", "num-runs", "warmup-runs", "max-secs", "threads"].includes(name)) {
      fail(`unknown option ${words[i]} (see --help)`);
    }
    if (i + 1 === words.length) fail(`option ${words[i]} needs a value`);
    const value = words[++i];
    if (name === "bundle") options.bundle = value;
    else if (Array.isArray(options[name])) options[name].push(value);
    else if (/^[0-9]{1,9}$/.test(value)) options[name] = Number(value);
    else fail(`not a number in range: --${name} ${value}`);
  }
  if (options.bundle === undefined) fail("option --bundle is missing (see --help)");
  if (options.samples === 0) fail("--samples must be at least 1");
  return options;
}

/** The bytes of one input for all samples. */
function readInput(path, port, samples) {
  let bytes;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    fail(`cannot open ${path}: ${error.message}`);
  }
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

function writeAll(fd, bytes) {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
}

function runSamples(model, files, paths, samples) {
  const temporary = paths.map((path) => `${path}.tmp`);
  try {
    const open = temporary.map((path) => openSync(path, "w"));
    for (let sample = 0; sample < samples; sample++) {
      fill(model, files, sample);
      model.execute();
      const views = model.outputViews();
      open.forEach((fd, i) => writeAll(fd, bytesOf(views[model.outputs[i].name])));
    }
    open.forEach((fd) => closeSync(fd));
    paths.forEach((path, i) => renameSync(temporary[i], path));
  } catch (error) {
    temporary.forEach((path) => rmSync(path, { force: true }));
    if (error.syscall) fail(`cannot write an output: ${error.message}`);
    throw error;
  }
}

function time(model, files, options) {
  fill(model, files, 0);
  for (let i = 0; i < options["warmup-runs"]; i++) model.execute();
  const calls = 1 + Math.max(-1, ...model.manifest.layers.flatMap((layer) => layer.calls));
  const wallNs = [], callNs = [], begin = process.hrtime.bigint();
  for (let i = 0; i < options["num-runs"]; i++) {
    const before = process.hrtime.bigint();
    model.execute();
    wallNs.push(Number(process.hrtime.bigint() - before));
    if (options["per-layer"]) callNs.push(timeCalls(model, calls));
    if (options["max-secs"] && process.hrtime.bigint() - begin >= 1e9 * options["max-secs"]) break;
  }
  return { wall_ns: wallNs, ...(options["per-layer"] ? { call_ns: callNs } : {}) };
}

function timeCalls(model, calls) {
  const times = new Array(calls);
  let before = process.hrtime.bigint();
  for (let call = 0; call < calls; call++) {
    model.execute(call, call + 1);
    const now = process.hrtime.bigint();
    times[call] = Number(now - before);
    before = now;
  }
  return times;
}

async function main(words) {
  const options = parse(words);
  if (options.help) return process.stdout.write(HELP);
  if (options.version) return process.stdout.write(`node ${process.versions.node}, V8 ${process.versions.v8}\n`);
  let loader;
  try {
    loader = await import(pathToFileURL(join(options.bundle, "model.mjs")).href);
  } catch (error) {
    fail(`cannot load model.mjs of ${options.bundle}: ${error.message}`);
  }
  const model = await loader.load(options.bundle, { threads: options.threads });
  for (const [what, ports] of [["input", model.inputs], ["output", model.outputs]]) {
    const given = options[what].length;
    if (given < ports.length && !(what === "output" && given === 0)) fail(`no --${what} for ${ports[given].name} (see --help)`);
    if (given > ports.length) fail(`one --${what} too many: ${options[what][ports.length]}`);
  }
  const files = model.inputs.map((port, i) => readInput(options.input[i], port, options.samples));
  runSamples(model, files, options.output, options.samples);
  const times = time(model, files, options);
  model.close();
  const isa = model.manifest.isas.join(",");
  const facts = { model: model.manifest.name, isa, threads: model.threads, samples: options.samples, ...times };
  const shown = times.wall_ns.length ? `; nanoseconds: ${times.wall_ns.join(" ")}` : "";
  process.stdout.write(options.json ? `${JSON.stringify(facts)}\n` : `${options.samples} samples, ${isa}${shown}\n`);
  return undefined;
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const ours = error instanceof Failure || typeof error.code === "string" && typeof error.hint === "string";
  process.stderr.write(`runner: ${ours ? error.message : error.stack}\n`);
  process.exitCode = 2;
}
