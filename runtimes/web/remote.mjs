// A model in a worker (host.mjs), from outside.

import { ON_NODE } from "./engine.mjs";
import { LoadError, packed, RunError, unpacked } from "./errors.mjs";
import { ARRAYS } from "./ports.mjs";
import { nodeWorker, Peer } from "./workers.mjs";

const LATE_MS = 1000; // a worker that does not answer for so long is stopped as it is

async function newWorker() {
  if (ON_NODE) return nodeWorker(new URL("./host.mjs", import.meta.url));
  return new Worker(new URL("./host.mjs", import.meta.url), { type: "module", name: "edgesparse model" });
}

/** Answers come in the order of calls: the worker does one after the other. */
class Remote {
  #peer;
  #options;
  #calls = new Map(); // id -> {resolve, reject, onPart}
  #last = 0;
  #gone; // why nothing more can be asked: an error

  constructor(worker, options) {
    this.#options = options;
    const gone = (why) => this.#end(new RunError("worker", `the worker of the model is gone: ${why}`, "load it again"));
    this.#peer = new Peer(worker, (message) => this.#take(message), gone);
  }

  /** `onPart` gets what comes before the answer. */
  call(call, given, transfer, onPart) {
    if (this.#gone) return Promise.reject(this.#gone);
    return new Promise((resolve, reject) => {
      const id = ++this.#last;
      this.#calls.set(id, { resolve, reject, onPart });
      this.#peer.busy();
      this.#peer.post({ id, call, given }, transfer);
    });
  }

  /** Copies: what the caller does with arrays while they wait is no matter. */
  run(inputs) {
    const [copies, buffers] = copied(inputs);
    return this.call("run", copies, buffers);
  }

  time(inputs, options) {
    const [copies, buffers] = copied(inputs);
    return this.call("time", { inputs: copies, options }, buffers);
  }

  /** What waits is rejected with `error`. Threads that are dismissed end at once, others take browsers seconds. */
  async close(error = new RunError("closed", "the model is closed", "load it again")) {
    if (this.#calls.size === 0 && !this.#gone) {
      let timer;
      const late = new Promise((resolve) => { timer = setTimeout(resolve, LATE_MS); });
      await Promise.race([this.call("close").catch(() => {}), late]);
      clearTimeout(timer);
    }
    this.#end(error);
    await this.#peer.end();
  }

  #end(error) {
    this.#gone ??= error;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const { reject } of calls) reject(this.#gone);
    this.#peer.idle();
  }

  #take(message) {
    if (message.progress) {
      this.#options.onProgress?.(message.progress);
    } else if (message.reads) {
      this.#read(message.reads);
    } else {
      const call = this.#calls.get(message.id);
      if (call === undefined) return; // closed meanwhile
      if (message.part !== undefined) return void call.onPart?.(message.part);
      this.#calls.delete(message.id);
      if (this.#calls.size === 0) this.#peer.idle();
      if (message.error) call.reject(unpacked(message.error));
      else call.resolve(message.value);
    }
  }

  async #read(name) {
    try {
      this.#peer.post({ read: name, bytes: await this.#options.read(name) });
    } catch (error) {
      this.#peer.post({ read: name, error: packed(error) });
    }
  }
}

/** Not by slice(): that of node's Buffer gives the memory of the caller away. */
function copied(arrays) {
  const copy = (array) => new (Object.values(ARRAYS).find((type) => array instanceof type))(array);
  const copies = Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, copy(array)]));
  return [copies, Object.values(copies).map((array) => array.buffer)];
}

/**
 * Load the bundle at `place` (see placeOf) in a worker, which `start()` may make of another script that does what host.mjs
 * does: [what it says of the model, Remote]. Throws LoadError.
 */
export async function loadRemote(place, options, start = newWorker) {
  const { threads, relaxed, strict, cache, verify, read, signal, onProgress } = options;
  const aborted = () => new LoadError("aborted", "loading was aborted", "", signal.reason);
  if (signal?.aborted) throw aborted();
  let remote;
  try {
    remote = new Remote(await start(), { read, onProgress });
  } catch (cause) {
    throw new LoadError("worker", `no worker can be started: ${cause.message}`, "load with worker: false", cause);
  }
  const plain = { threads, relaxed, strict, cache, verify };
  const stop = () => remote.close(aborted());
  signal?.addEventListener("abort", stop);
  try {
    if (signal?.aborted) throw aborted(); // while the worker was made
    return [await remote.call("load", { place, options: plain, theirs: read !== undefined }), remote];
  } catch (error) {
    await remote.close();
    if (error.code !== "worker") throw error;
    throw new LoadError("worker", error.message.split("\n")[0], "load with worker: false", error);
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}
