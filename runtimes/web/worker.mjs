// Runs a WebAssembly bundle in a worker of a page, where waiting for other threads is allowed. It is the browser's
// runner.mjs: it asks edgesparse (page.py) for the words of a command line, reads and writes the files that they name
// over HTTP, and gives back what a program would print.
import { features, loadHere, whyNoThreads } from "./bundle/model.mjs";
import { checkedInput, checkPorts, fail, parse, runSamples, timed, told } from "./program.mjs";

const now = () => Math.round(performance.now() * 1e6);
let model;

async function ask(name, what, options = {}) {
  const response = await fetch(new URL(name, import.meta.url), options);
  if (!response.ok) fail(`${name} cannot be ${what}: HTTP status ${response.status}`);
  return response;
}

const post = (name, body) => ask(name, "sent", { method: "POST", body });

/** The smallest step of the clock, in nanoseconds. */
function clockStep() {
  let step = Infinity, before = now();
  for (let ticks = 0; ticks < 100; ) {
    const after = now();
    if (after === before) continue;
    step = Math.min(step, after - before);
    before = after;
    ticks++;
  }
  return step;
}

/** What this browser is, and what it can do. */
async function facts() {
  const { simd, relaxedSimd } = features();
  const { uaFullVersion } = await navigator.userAgentData?.getHighEntropyValues(["uaFullVersion"]) ?? {};
  return {
    agent: navigator.userAgent, version: uaFullVersion ?? "", cross_origin_isolated: crossOriginIsolated,
    simd, relaxed_simd: relaxedSimd, why_no_threads: whyNoThreads(), clock_step_ns: clockStep(),
  };
}

async function perform(words, clock_step_ns) {
  const options = parse(words);
  model ??= await loadHere(new URL(options.bundle, import.meta.url), {
    threads: options.threads, strict: true, cache: false,
  });
  checkPorts(model, options);
  const files = await Promise.all(model.inputs.map(async (port, i) => {
    const response = await ask(options.input[i], "read");
    return checkedInput(options.input[i], new Uint8Array(await response.arrayBuffer()), port, options.samples);
  }));
  const outputs = model.outputs.map((port) => new Uint8Array(port.bytes * options.samples));
  runSamples(model, files, options.samples, (i, bytes, sample) => outputs[i].set(bytes, sample * bytes.length));
  const found = { ...timed(model, files, options, now), clock_step_ns };
  await Promise.all(options.output.map((name, i) => post(name, outputs[i])));
  return found;
}

async function finished(words, clockStepNs) {
  try {
    return { exit_code: 0, stdout: JSON.stringify(await perform(words, clockStepNs)), stderr: "" };
  } catch (error) {
    return { exit_code: 2, stdout: "", stderr: told(error) };
  }
}

async function main() {
  const said = await facts();
  await post("hello", JSON.stringify(said));
  for (;;) {
    const response = await ask("job", "asked for");
    if (response.status === 204) continue; // nothing to do yet
    const { number, words } = await response.json();
    await post("done", JSON.stringify({ number, ...await finished(words, said.clock_step_ns) }));
  }
}

main().catch((error) => post("failed", JSON.stringify({ why: told(error), agent: navigator.userAgent }))).catch(() => {});
