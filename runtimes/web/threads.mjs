// What model.mjs needs for more than one thread: a memory that workers share, and the workers, which run this file.

import { LoadError } from "./errors.mjs";

export const ALIGN = 64;
export const PAGE_BYTES = 65536;
export const STACK_BYTES = 131072; // of a thread, as in build.py
const MAX_THREADS = 256;
const WORKER_NAME = "edgesparse-worker";
const ON_NODE = typeof process !== "undefined" && Boolean(process.versions?.node);

/** What keeps workers from sharing a memory, or nothing. */
export function whyNoThreads() {
  if (globalThis.crossOriginIsolated === false) return "the page is not cross-origin isolated";
  if (typeof SharedArrayBuffer === "undefined") return "this engine has no SharedArrayBuffer";
  if (!ON_NODE && typeof Worker === "undefined") return "this engine has no workers";
  return "";
}

async function cpuCount() {
  if (!ON_NODE) return navigator.hardwareConcurrency;
  const os = await import("node:os");
  return os.availableParallelism?.() ?? os.cpus().length;
}

export async function threadCount(threads) {
  if (!Number.isInteger(threads) || threads < 0 || threads > MAX_THREADS) {
    throw new LoadError("threads", `${threads} is not a number of threads`, `1 to ${MAX_THREADS}, or 0 for every CPU`);
  }
  if (threads === 1) return 1;
  const cpus = await cpuCount();
  const count = threads || Math.min(cpus, MAX_THREADS);
  if (count === 1) return 1;
  const why = whyNoThreads();
  if (why) {
    throw new LoadError("threads", `${count} threads, but ${why}`,
      "serve the page with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp, "
        + "or load with threads: 1");
  }
  if (count > cpus) {
    throw new LoadError("threads", `${count} threads, but there ${cpus === 1 ? "is 1 CPU" : `are ${cpus} CPUs`}`,
      "more threads than CPUs would wait for each other; give 0 to use every CPU");
  }
  return count;
}

/** Room for everything that Model places; what the module itself needs is its stack, and less than its own size. */
export function sharedMemory(manifest, codeBytes, threads) {
  const ports = [...manifest.inputs, ...manifest.outputs].reduce((sum, port) => sum + port.bytes + ALIGN + 4, 0);
  const own = STACK_BYTES + codeBytes + 2 * PAGE_BYTES;
  const bytes = own + manifest.weights_bytes + manifest.arena_bytes + ports
    + threads * (manifest.scratch_bytes + STACK_BYTES + ALIGN);
  const pages = Math.ceil(bytes / PAGE_BYTES);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages + 16, shared: true });
  } catch (cause) {
    throw new LoadError("memory", `the model needs ${bytes} bytes of shared WebAssembly memory`,
      "close other pages, or use a smaller model or threads: 1", cause);
  }
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

/** A worker that runs this file, or on node.js the same function of it. */
export async function newWorker() {
  if (!ON_NODE) return new Worker(new URL(import.meta.url), { type: "module", name: WORKER_NAME });
  const { Worker: NodeWorker } = await import("node:worker_threads");
  // import() alone works whatever kind of module the program's own options make of such text
  const code = `Promise.all([import(${JSON.stringify(import.meta.url)}), import("node:worker_threads")])
    .then(([{ work }, { parentPort }]) => {
      parentPort.once("message", (job) => work(job, (reply) => parentPort.postMessage(reply)));
    });`;
  const worker = new NodeWorker(code, { eval: true });
  worker.unref(); // a program that forgot close() ends all the same
  return worker;
}

/** Hands the worker its job; resolves when it has begun. */
export function begun(worker, job) {
  return new Promise((resolve, reject) => {
    const failed = (why) => {
      reject(new LoadError("threads", `a worker does not start: ${why}`, "load with threads: 1"));
    };
    const answered = (reply) => (reply.error === undefined ? resolve() : failed(reply.error));
    if (ON_NODE) {
      worker.ref(); // until it answers
      worker.once("error", (error) => failed(error.message));
      worker.once("message", (reply) => {
        worker.unref();
        answered(reply);
      });
    } else {
      worker.onerror = (event) => failed(event.message ?? "its script cannot be loaded");
      worker.onmessage = (event) => answered(event.data);
    }
    worker.postMessage(job);
  });
}

/** What a worker does all its life: its part of every run. `reply` tells that it begins, or why it cannot. */
export async function work({ module, memory, part, stackEnd }, reply) {
  let exports;
  try {
    ({ exports } = await WebAssembly.instantiate(module, { env: { memory } }));
  } catch (error) {
    reply({ error: error.message });
    return;
  }
  exports.__stack_pointer.value = stackEnd;
  reply({});
  exports.model_worker(part);
}

if (typeof WorkerGlobalScope !== "undefined" && globalThis instanceof WorkerGlobalScope && globalThis.name === WORKER_NAME) {
  globalThis.onmessage = ({ data }) => work(data, (reply) => globalThis.postMessage(reply));
}
