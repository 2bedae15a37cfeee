// What this engine can do, and which build of a bundle it therefore runs.

import { LoadError } from "./errors.mjs";

/** Where node's own modules are: node.js and Deno. */
export const HAS_NODE_MODULES = typeof process !== "undefined" && Boolean(process.versions?.node);
/** Where workers are those of node:worker_threads. */
export const ON_NODE = HAS_NODE_MODULES && typeof Deno === "undefined";
/** In a page, as opposed to a worker, node.js or Deno. */
export const IN_PAGE = typeof document !== "undefined" && typeof window !== "undefined" && !HAS_NODE_MODULES;
const MAX_THREADS = 256;
const AUTO_THREADS = 8; // more cores than that are seldom all fast ones, and every layer waits for the slowest
// Shorter runs gain little, and where CPUs are busy two threads took them twice as long (measured).
const AUTO_US = 1000;
const BYTES_PER_US = 8000; // of weights, that one thread reads for a token (measured)
const ISOLATE = "serve the page, and the scripts of its workers, with Cross-Origin-Opener-Policy: same-origin and "
  + "Cross-Origin-Embedder-Policy: require-corp, or load with threads: 1";

// (module (func (result v128) i32.const 0 i8x16.splat)) and the same with i32x4.relaxed_trunc_f32x4_s.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11];
const RELAXED_SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 11, 1, 9, 0, 65, 0, 253, 15, 253, 129, 2, 11,
];

/** A module of node's own. By a name in a variable, so that bundlers do not look for it. */
export const nodeModule = (name) => import(/* @vite-ignore */ /* webpackIgnore: true */ `node:${name}`);

/** What this engine can run: `{simd, relaxedSimd, threads}`. */
export function features() {
  const has = typeof WebAssembly !== "undefined"; // Lockdown Mode of Safari takes it away
  const valid = (bytes) => has && WebAssembly.validate(new Uint8Array(bytes));
  return { simd: valid(SIMD), relaxedSimd: valid(RELAXED_SIMD), threads: whyNoThreads() === "" };
}

/** What keeps workers from sharing a memory, or nothing. */
export function whyNoThreads() {
  if (globalThis.isSecureContext === false) return "isSecureContext is false (https and localhost are secure)";
  if (globalThis.crossOriginIsolated === false) return "crossOriginIsolated is false";
  if (typeof SharedArrayBuffer === "undefined") return "this engine has no SharedArrayBuffer";
  if (!ON_NODE && typeof Worker === "undefined") return "this engine has no workers";
  return "";
}

/** Whether this thread may wait asleep: all may but the main one of a page. */
export function maySleep() {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1);
    return true;
  } catch {
    return false;
  }
}

async function cpuCount() {
  if (!HAS_NODE_MODULES) return navigator.hardwareConcurrency || 1;
  const os = await nodeModule("os");
  return os.availableParallelism?.() ?? os.cpus().length;
}

/**
 * How many threads are to run the model: `options.threads`, or fewer. With options.strict what was asked for is all
 * that will do; otherwise `why` gets the reason for fewer. Throws LoadError.
 */
export async function chooseThreads(manifest, options, why) {
  const asked = options.threads ?? "auto";
  if (asked !== "auto" && !(Number.isInteger(asked) && asked >= 0 && asked <= MAX_THREADS)) {
    throw new LoadError("threads", `${asked} is not a number of threads`,
      `1 to ${MAX_THREADS}, 0 for every CPU, or "auto"`);
  }
  if (asked === 1) return 1;
  const cpus = await cpuCount();
  const wanted = asked === "auto" ? Math.min(cpus, AUTO_THREADS) : asked || Math.min(cpus, MAX_THREADS);
  const fewer = (count, reason, hint) => {
    if (options.strict && asked !== "auto") throw new LoadError("threads", `${wanted} threads, but ${reason}`, hint);
    why.push(`${count} thread${count === 1 ? "" : "s"}: ${reason}`);
    return count;
  };
  if (wanted === 1) return asked === 0 ? 1 : fewer(1, "there is 1 CPU");
  if (!(manifest.modules ?? []).some((build) => build.threads)) {
    return fewer(1, "the bundle has no build for more", "compile the model again");
  }
  const reason = whyNoThreads();
  if (reason) return fewer(1, reason, ISOLATE);
  if (asked === "auto") {
    if (!maySleep()) return fewer(1, "the main thread of a page could not wait for others asleep");
    const us = manifest.decoder ? manifest.weights_bytes / BYTES_PER_US
      : manifest.layers.reduce((sum, layer) => sum + layer.predicted_us, 0);
    if (us > 0 && us < AUTO_US) return fewer(1, `a run is predicted to take less than ${AUTO_US / 1000} ms`);
  }
  if (wanted > cpus) {
    return fewer(cpus, `there ${cpus === 1 ? "is 1 CPU" : `are ${cpus} CPUs`}`,
      "more threads than CPUs would wait for each other; give 0 to use every CPU");
  }
  return wanted;
}

/** Of manifest.modules, which list the best first: the one to run. `why` gets reasons. Throws LoadError. */
export function chooseBuild(manifest, threads, options, why) {
  const builds = (manifest.modules ?? []).filter((build) => build.threads === threads > 1);
  if (builds.length === 0) {
    throw new LoadError("manifest", `the bundle lists no module for ${threads === 1 ? "one thread" : "threads"}`,
      "compile the model again");
  }
  const { simd, relaxedSimd } = features();
  if (!simd) throw new LoadError("simd", "this engine has no WebAssembly SIMD", "use a browser from 2021 or newer");
  const isRelaxed = (build) => build.isa.includes("relaxed");
  const asked = options.relaxed ?? "auto";
  const relaxed = relaxedSimd ? builds.find(isRelaxed) : undefined;
  const plain = builds.find((build) => !isRelaxed(build));
  const instead = (build, reason) => {
    if (options.strict && asked !== "auto") throw new LoadError("relaxed-simd", reason, "load with relaxed: \"auto\"");
    why.push(`${title(build.isa)}: ${reason}`);
    return build;
  };
  if (asked === false) return plain ?? (relaxed && instead(relaxed, "the bundle has no other build")) ?? nothing();
  if (relaxed) return relaxed;
  if (plain === undefined) return nothing();
  return instead(plain, relaxedSimd ? "the bundle has no build for relaxed SIMD" : "this engine has no relaxed SIMD");
}

function nothing() {
  throw new LoadError("relaxed-simd", "the bundle uses WebAssembly relaxed SIMD, which this engine does not have",
    "compile with --device browser: such a bundle has a build for every engine");
}

/** What people call an instruction set. */
export function title(isa) {
  return { relaxed: "relaxed SIMD", simd128: "SIMD128" }[isa] ?? isa;
}
