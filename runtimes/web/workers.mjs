// Workers, the same in browsers, Deno and node.js. Bundlers look for `new Worker(new URL("./x.mjs", import.meta.url))`,
// which therefore stands where a worker is started (threads.mjs, remote.mjs).

import { ON_NODE, nodeModule } from "./engine.mjs";

/** In node.js: a worker of the module at `url`. Options of the program (--input-type) are not for it. */
export async function nodeWorker(url) {
  const { Worker: NodeWorker } = await nodeModule("worker_threads");
  return new NodeWorker(url, { execArgv: [] });
}

/** The other side of `worker`: `onMessage` gets what it posts, `onGone` once why it cannot go on. */
export class Peer {
  #worker;

  constructor(worker, onMessage, onGone) {
    this.#worker = worker;
    if (ON_NODE) {
      worker.on("message", onMessage);
      worker.on("messageerror", (error) => onGone(error.message));
      worker.on("error", (error) => onGone(error.message));
      worker.on("exit", (code) => onGone(`it ended with exit code ${code}`));
      this.idle();
    } else {
      worker.onmessage = ({ data }) => onMessage(data);
      worker.onmessageerror = () => onGone("a message cannot be read");
      worker.onerror = (event) => {
        event.preventDefault?.(); // told by onGone
        onGone(event.message || "its script cannot be loaded");
      };
    }
  }

  post(message, transfer = []) {
    this.#worker.postMessage(message, transfer);
  }

  /** A program that forgot close() ends all the same: node.js waits for nothing that is idle. */
  idle() {
    this.#worker.unref?.();
  }

  busy() {
    this.#worker.ref?.();
  }

  end() {
    return this.#worker.terminate();
  }
}

/** In a worker: `onMessage(data, post)` for all that comes. */
export function listen(onMessage) {
  if (ON_NODE) {
    nodeModule("worker_threads").then(({ parentPort }) => {
      const post = (message, transfer) => parentPort.postMessage(message, transfer);
      parentPort.on("message", (data) => onMessage(data, post));
    });
  } else {
    globalThis.onmessage = ({ data }) => onMessage(data, (message, transfer = []) => postMessage(message, transfer));
  }
}
