// Runs a WebAssembly bundle in node.js, with the options of the program in arm64 bundles (main.c):
// raw little-endian files, samples one after the other, one JSON document on stdout. Every failure
// is words on stderr and exit code 2.
import { closeSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { checkedInput, checkPorts, fail, OPTIONS, parse, runSamples, timed, told } from "./program.mjs";

const HELP = `usage: node runner.mjs --bundle NAME.edge --input IN.bin ... [--output OUT.bin ...]
${OPTIONS}  --version          print the version of node.js and of V8
  --help             print this
`;

const origin = process.hrtime.bigint(); // so that what has passed since is a whole number that a Number can hold
const now = () => Number(process.hrtime.bigint() - origin);

/** The bytes of one input for all samples. */
function readInput(path, port, samples) {
  let bytes;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    fail(`cannot open ${path}: ${error.message}`);
  }
  return checkedInput(path, bytes, port, samples);
}

function writeAll(fd, bytes) {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
}

/** Outputs go to FILE.tmp, which is renamed once all are there. */
function runToFiles(model, files, paths, samples) {
  const temporary = paths.map((path) => `${path}.tmp`);
  try {
    const open = temporary.map((path) => openSync(path, "w"));
    runSamples(model, files, samples, (i, bytes) => {
      if (i < open.length) writeAll(open[i], bytes);
    });
    open.forEach((fd) => closeSync(fd));
    paths.forEach((path, i) => renameSync(temporary[i], path));
  } catch (error) {
    temporary.forEach((path) => rmSync(path, { force: true }));
    if (error.syscall) fail(`cannot write an output: ${error.message}`);
    throw error;
  }
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
  const model = await loader.loadHere(options.bundle, { threads: options.threads, strict: true });
  checkPorts(model, options);
  const files = model.inputs.map((port, i) => readInput(options.input[i], port, options.samples));
  runToFiles(model, files, options.output, options.samples);
  const facts = timed(model, files, options, now);
  await model.close();
  const shown = facts.wall_ns.length ? `; nanoseconds: ${facts.wall_ns.join(" ")}` : "";
  return process.stdout.write(
    options.json ? `${JSON.stringify(facts)}\n` : `${options.samples} samples, ${facts.isa}${shown}\n`);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`runner: ${told(error)}\n`);
  process.exitCode = 2;
}
