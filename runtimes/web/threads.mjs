// More than one thread: a memory that workers share, and the workers (thread.mjs).

import { ON_NODE } from "./engine.mjs";
import { LoadError } from "./errors.mjs";
import { nodeWorker, Peer } from "./workers.mjs";

export const ALIGN = 64;
export const PAGE_BYTES = 65536;
export const STACK_BYTES = 131072; // of a thread, as in build.py

/** Room for everything that SyncModel places; what the module itself needs is its stack, and less than its own size. */
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

async function newWorker() {
  if (ON_NODE) return nodeWorker(new URL("./thread.mjs", import.meta.url));
  return new Worker(new URL("./thread.mjs", import.meta.url), { type: "module", name: "edgesparse thread" });
}

/**
 * Starts a worker with its `job` (see thread.mjs); resolves when it has begun, with a function that ends it.
 * `signal` ends it before that. Throws LoadError.
 */
export async function startThread(job, signal) {
  const hint = "load with threads: 1";
  const failed = (why, cause) => new LoadError("threads", `a worker does not start: ${why}`, hint, cause);
  let worker;
  try {
    worker = await newWorker();
  } catch (cause) {
    throw failed(cause.message, cause);
  }
  return new Promise((resolve, reject) => {
    const peer = new Peer(worker, begun, (why) => stop(failed(why)));
    const aborted = () => stop(new LoadError("aborted", "loading was aborted"));
    function begun(reply) {
      if (reply.error !== undefined) return stop(failed(reply.error));
      peer.idle();
      signal.removeEventListener("abort", aborted);
      return resolve(() => peer.end());
    }
    function stop(error) {
      signal.removeEventListener("abort", aborted);
      reject(error);
      peer.end();
    }
    peer.busy();
    signal.addEventListener("abort", aborted);
    if (signal.aborted) return aborted();
    return peer.post(job);
  });
}
