// weights.packed -> weights.bin, while it arrives. What the codings are: packed_weights.py.

import { sha256 } from "./digest.mjs";
import { LoadError } from "./errors.mjs";

const AGAIN = "copy the bundle again";
const GROUP = 64; // values that share a scale in int8
const CHUNK = 16384; // browsers unpack all of a chunk at once, which may be a thousand times as much

/**
 * The packed weights of a bundle where they are wanted: `into` is of manifest.weights_bytes zeros at an address that is a
 * multiple of 4, in a memory that does not grow meanwhile; the default is an array of its own. Returns it.
 *
 * `source` is the content of weights.packed, a ReadableStream or a Uint8Array. onProgress(bytes, manifest.weights_bytes)
 * tells how far it is. With `verify` the result is compared with its SHA-256, which needs crypto.subtle.
 *
 * Throws LoadError, and what `source` does.
 */
export async function decodeWeights(manifest, source, { into, onProgress, verify = false } = {}) {
  const packed = manifest.weights;
  if (!packed) throw new LoadError("manifest", "the manifest does not describe the weights", "compile the model again");
  const out = into ?? new Uint8Array(manifest.weights_bytes);
  const bytes = new Bytes(source);
  let done = 0;
  try {
    for (const part of packed.parts) {
      const end = part.offset + part.bytes;
      if (end > out.length) throw damaged(`holds ${end} bytes, expected ${out.length}`);
      await decode(part, bytes, new Uint8Array(out.buffer, out.byteOffset + part.offset, part.bytes));
      onProgress?.(done += part.bytes, manifest.weights_bytes);
    }
    await bytes.end();
  } catch (cause) {
    bytes.cancel();
    throw cause;
  }
  if (verify) await compare(packed, out);
  onProgress?.(manifest.weights_bytes, manifest.weights_bytes);
  return out;
}

/** Reads what a gzip file holds, as it is unpacked. */
class Bytes {
  #reader;
  #broken; // {cause}: what went wrong before anything was unpacked
  chunk = new Uint8Array(0);
  at = 0;

  constructor(source) {
    if (typeof DecompressionStream === "undefined") {
      throw new LoadError("compile", "this engine has no DecompressionStream", "use a browser from 2023 or newer, or node 18");
    }
    this.#reader = this.#watched(source).pipeThrough(new DecompressionStream("gzip")).getReader();
  }

  /** Waits until there is something in `chunk` behind `at`. Throws LoadError at the end. */
  async more() {
    while (this.at === this.chunk.length) {
      const { value, done } = await this.#read();
      if (done) throw damaged("ends too early");
      this.chunk = value;
      this.at = 0;
    }
  }

  /** To the end, where nothing may be left. */
  async end() {
    const { done } = this.at < this.chunk.length ? { done: false } : await this.#read();
    if (!done) throw damaged("is too long");
  }

  cancel() {
    this.#reader.cancel().catch(() => {});
  }

  async #read() {
    try {
      return await this.#reader.read();
    } catch (cause) {
      throw this.#broken ? this.#broken.cause : damaged(`cannot be unpacked: ${cause.message}`, cause);
    }
  }

  /** `source` in small chunks, of which is known whether it broke: the other errors are those of what it carried. */
  #watched(source) {
    const whole = source instanceof Uint8Array;
    const stream = whole ? new ReadableStream({ start(to) { to.enqueue(source); to.close(); } }) : source;
    const reader = stream.getReader();
    let rest = new Uint8Array(0);
    return new ReadableStream({
      pull: async (to) => {
        try {
          while (rest.length === 0) {
            const { value, done } = await reader.read();
            if (done) return to.close();
            rest = value;
          }
          to.enqueue(rest.subarray(0, CHUNK));
          rest = rest.subarray(CHUNK);
          return undefined;
        } catch (cause) {
          this.#broken = { cause };
          throw cause;
        }
      },
      cancel: (why) => reader.cancel(why),
    });
  }
}

function damaged(why, cause) {
  return new LoadError("damaged", `weights.packed is damaged: it ${why}`, AGAIN, cause);
}

async function decode(part, bytes, out) {
  const { winograd } = part;
  if (!winograd) return spread(part, bytes, out);
  const source = new Float32Array(9 * winograd.channels * winograd.inputs);
  await spread(part, bytes, new Uint8Array(source.buffer));
  return transform(source, winograd, new Float32Array(out.buffer, out.byteOffset, out.length / 4));
}

/** The values, with the zeros that were left out. */
async function spread(part, bytes, out) {
  const count = out.length / part.item_bytes;
  if (typeof part.kept !== "number") return values(part, bytes, count, out);
  const mask = new Uint8Array(Math.ceil(count / 8));
  await plane(bytes, mask.length, mask, 0, 1);
  await values(part, bytes, part.kept, out);
  const words = new Uint32Array(out.buffer, out.byteOffset, count);
  let from = part.kept;
  for (let i = count - 1; i >= 0; i--) words[i] = mask[i >> 3] & (1 << (i & 7)) ? words[--from] : 0;
  if (from !== 0) throw damaged("has another number of values than it says");
}

async function values(part, bytes, count, out) {
  const { coding, item_bytes: size } = part;
  if (coding === "planes") {
    for (let k = 0; k < size; k++) await plane(bytes, count, out, k, size);
    return;
  }
  if (coding === "table") return fromTable(part, bytes, count, out);
  const floats = new Float32Array(out.buffer, out.byteOffset, count);
  const words = new Uint32Array(out.buffer, out.byteOffset, count);
  if (coding === "f16") {
    for (let k = 0; k < 2; k++) await plane(bytes, count, out, k, 4);
    const factor = 2 ** part.exponent, known = halves();
    for (let i = 0; i < count; i++) floats[i] = known[words[i]] * factor;
  } else if (typeof part.step === "number") {
    await plane(bytes, count, out, 0, 4);
    for (let i = 0; i < count; i++) floats[i] = (words[i] << 24 >> 24) * part.step;
  } else if (coding === "int8") {
    const scales = await halfScales(bytes, Math.ceil(count / GROUP), 2 ** part.exponent);
    await plane(bytes, count, out, 0, 4);
    for (let i = 0; i < count; i++) floats[i] = (words[i] << 24 >> 24) * scales[Math.floor(i / GROUP)];
  } else {
    throw new LoadError("manifest", `there is no coding '${coding}'`, "compile the model again, or copy all of the bundle");
  }
}

async function halfScales(bytes, count, factor) {
  const read = new Uint8Array(2 * count), known = halves();
  for (let k = 0; k < 2; k++) await plane(bytes, count, read, k, 2);
  return Float64Array.from(new Uint16Array(read.buffer), (half) => known[half] * factor);
}

async function fromTable({ entries, gaps }, bytes, count, out) {
  const table = new Uint32Array(entries), words = new Uint32Array(out.buffer, out.byteOffset, count);
  for (let k = 0; k < 4; k++) await plane(bytes, entries, new Uint8Array(table.buffer), k, 4);
  for (let i = 1; i < entries; i++) table[i] += table[i - 1];
  for (let k = 0; k < (entries <= 256 ? 1 : 2); k++) await plane(bytes, count, out, k, 4);
  if (!gaps) {
    for (let i = 0; i < count; i++) words[i] = table[words[i]];
    return;
  }
  for (let i = 0, at = 0; i < count; i++) {
    at += words[i];
    if (at >= entries) at -= entries;
    words[i] = table[at];
  }
}

/** `count` bytes to out[from], out[from + step], ... */
async function plane(bytes, count, out, from, step) {
  for (let done = 0; done < count;) {
    if (bytes.at === bytes.chunk.length) await bytes.more();
    const { chunk, at } = bytes;
    const now = Math.min(count - done, chunk.length - at);
    if (step === 1) out.set(chunk.subarray(at, at + now), from + done);
    else scatter(chunk, at, now, out, from + done * step, step);
    bytes.at += now;
    done += now;
  }
}

function scatter(chunk, at, count, out, to, step) {
  for (const end = at + count; at < end; at++, to += step) out[to] = chunk[at];
}

let madeHalves;
/** Every half by its bits. */
function halves() {
  madeHalves ??= Float64Array.from({ length: 65536 }, (_, bits) => {
    const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  });
  return madeHalves;
}

/** As winograd_layout.py: the same sums in the same order, so that bits are the same. */
function transform(source, { channels, inputs, height, group, matrix }, out) {
  const g = Float64Array.from(matrix.flat());
  const rows = Math.ceil(channels / height) * height, positions = matrix.length ** 2;
  const left = new Float64Array(g.length);
  for (let begin = 0, base = 0; begin < channels; begin += group) {
    const count = Math.min(group, rows - begin);
    for (let channel = begin; channel < Math.min(begin + count, channels); channel++) {
      const block = Math.floor((channel - begin) / height), lane = (channel - begin) % height;
      for (let input = 0; input < inputs; input++) {
        const u = 9 * (channel * inputs + input);
        multiply(g, source, u, left);
        multiplyBack(left, g, out, base + (block * inputs + input) * height + lane, count * inputs);
      }
    }
    base += positions * count * inputs;
  }
}

/** left = g u, of the kernel (3, 3) at source[u]. */
function multiply(g, source, u, left) {
  for (let i = 0; i < g.length; i += 3) {
    for (let x = 0; x < 3; x++) {
      left[i + x] = g[i] * source[u + x] + g[i + 1] * source[u + 3 + x] + g[i + 2] * source[u + 6 + x];
    }
  }
}

/** left g', each product `step` behind the one before. */
function multiplyBack(left, g, out, to, step) {
  for (let i = 0; i < left.length; i += 3) {
    for (let j = 0; j < g.length; j += 3) {
      out[to] = g[j] * left[i] + g[j + 1] * left[i + 1] + g[j + 2] * left[i + 2];
      to += step;
    }
  }
}

async function compare(packed, out) {
  if (await sha256(out) !== packed.sha256) throw damaged("unpacks to something else");
}
