// A file on its way.

import { LoadError } from "./errors.mjs";

export const WASM = "application/wasm";

/** Reads a source to its end, whether or not somebody is ready for it: modules compile meanwhile. */
export class Download {
  #whole; // promise of all bytes
  #chunks = []; // that stream() has not given yet
  #isStreamed = false;
  #isOver = false;
  #more = () => {}; // wakes who waits for the next chunk
  #next = this.#promised();

  /** What the server calls it; undefined where no server does. */
  mime;
  /** For WebAssembly.compileStreaming, of a module whose server calls it one; otherwise undefined. Use it once. */
  response;

  /** `source`: a Response, or the bytes. `onBytes` gets the number of bytes in each chunk. */
  constructor(name, source, signal, onBytes) {
    const take = (chunk) => {
      this.#chunks.push(chunk);
      onBytes(chunk.length);
      this.#more();
    };
    if (source instanceof Uint8Array) {
      this.#whole = Promise.resolve(source);
      take(source);
    } else {
      this.mime = (source.headers.get("Content-Type") ?? "").split(";")[0].trim().toLowerCase();
      const compiles = this.mime === WASM && typeof WebAssembly.compileStreaming === "function";
      if (compiles) this.response = source.clone();
      // Of a body that is read by a reader alone, Chromium now and then says that its request was aborted.
      const copy = source.clone().arrayBuffer();
      this.#whole = Promise.all([copy, read(source, take)]).then(([buffer]) => new Uint8Array(buffer))
        .catch((cause) => { throw failed(signal, `${name} broke off`, cause); });
    }
    this.#whole.catch(() => {}).finally(() => {
      this.#isOver = true;
      this.#more();
    });
  }

  /** All of it, once it is there. Throws LoadError. */
  bytes() {
    return this.#whole;
  }

  /** A ReadableStream of its bytes as they arrive; asked for again, of all of them at once. */
  stream() {
    if (this.#isStreamed) {
      return new ReadableStream({
        start: async (controller) => {
          controller.enqueue(await this.#whole);
          controller.close();
        },
      });
    }
    this.#isStreamed = true;
    return new ReadableStream({
      pull: async (controller) => {
        while (this.#chunks.length === 0 && !this.#isOver) await this.#next;
        if (this.#chunks.length > 0) return controller.enqueue(this.#chunks.shift());
        await this.#whole; // throws what went wrong
        return controller.close();
      },
    });
  }

  #promised() {
    return new Promise((resolve) => {
      this.#more = () => {
        this.#next = this.#promised();
        resolve();
      };
    });
  }
}

async function read(response, take) {
  const reader = response.body?.getReader();
  for (let part = await reader?.read(); part && !part.done; part = await reader.read()) take(part.value);
}

/** What to throw where something that `signal` can end did not work. */
export function failed(signal, what, cause) {
  if (signal.aborted) return new LoadError("aborted", "loading was aborted", "", signal.reason);
  return cause instanceof LoadError ? cause : new LoadError("fetch", `${what}: ${cause.message}`, "", cause);
}
