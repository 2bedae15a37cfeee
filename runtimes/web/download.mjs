// A file on its way.

import { LoadError } from "./errors.mjs";

export const WASM = "application/wasm";

/** Reads a source to its end, whether or not somebody is ready for it; who is gets it from its beginning. */
export class Download {
  #chunks = [];
  #ended; // promise
  #isOver = false;
  #more = () => {}; // wakes who waits for the next chunk
  #next = this.#promised();

  /** What the server calls it; undefined where no server does. */
  mime;
  /** For WebAssembly.compileStreaming, of a module whose server calls it one; otherwise undefined. Use it once. */
  response;

  /** `source`: a Response, or the bytes. `onBytes` gets the number of bytes in each chunk. */
  constructor(name, source, signal, onBytes) {
    const known = source instanceof Uint8Array;
    if (!known) {
      this.mime = (source.headers.get("Content-Type") ?? "").split(";")[0].trim().toLowerCase();
      const compiles = this.mime === WASM && typeof WebAssembly.compileStreaming === "function";
      if (compiles) this.response = source.clone();
    }
    const take = (chunk) => {
      this.#chunks.push(chunk);
      onBytes(chunk.length);
      this.#more();
    };
    this.#ended = known ? Promise.resolve(take(source))
      : read(source, take).catch((cause) => { throw failed(signal, `${name} broke off`, cause); });
    this.#ended.catch(() => {}).finally(() => {
      this.#isOver = true;
      this.#more();
    });
  }

  /** All of it, once it is there. Throws LoadError. */
  async bytes() {
    await this.#ended;
    if (this.#chunks.length === 1) return this.#chunks[0];
    const whole = new Uint8Array(this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    let at = 0;
    for (const chunk of this.#chunks) {
      whole.set(chunk, at);
      at += chunk.length;
    }
    return whole;
  }

  /** A ReadableStream of its bytes. */
  stream() {
    let taken = 0;
    return new ReadableStream({
      pull: async (controller) => {
        while (taken === this.#chunks.length && !this.#isOver) await this.#next;
        if (taken < this.#chunks.length) return controller.enqueue(this.#chunks[taken++]);
        await this.#ended;
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
