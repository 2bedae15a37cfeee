// manifest.json, checked before anything is made of its numbers and names: it comes from elsewhere.

import { LoadError } from "./errors.mjs";
import { ARRAYS } from "./ports.mjs";

const SCHEMA_VERSION = 1;
const MOST_ENTRIES = 65536; // of a table, as in packed_weights.py
const PIECES = "weights.0.bin, weights.1.bin and so on,"; // what weights.bin of a language model is cut into

/** The manifest of a WebAssembly bundle. Throws LoadError. */
export function parseManifest(bytes) {
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new LoadError("manifest", "manifest.json is not JSON", "is the address that of a bundle folder?", cause);
  }
  if (manifest?.schema_version !== SCHEMA_VERSION || manifest.kind !== "wasm") {
    throw new LoadError("manifest", `not a WebAssembly bundle of schema version ${SCHEMA_VERSION} `
      + `(it is ${manifest?.kind}, ${manifest?.schema_version})`,
    "edgesparse compile MODEL.onnx --device browser -o NAME.edge makes one");
  }
  check(manifest);
  return manifest;
}

const isCount = (x) => Number.isSafeInteger(x) && x >= 0;
const isObject = (x) => typeof x === "object" && x !== null;
/** In the folder of the bundle: no path, no other address. */
const isFile = (x) => typeof x === "string" && /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(x);

function need(holds, what) {
  if (!holds) throw new LoadError("manifest", `manifest.json is damaged: ${what}`, "copy the bundle again");
}

function check(manifest) {
  for (const name of ["weights_bytes", "arena_bytes", "scratch_bytes"]) need(isCount(manifest[name]), name);
  need(typeof manifest.name === "string", "name");
  need(isObject(manifest.files), "files");
  for (const ports of ["inputs", "outputs"]) need(manifest[ports]?.every?.(isPort), ports);
  need(manifest.layers?.every?.((x) => isObject(x) && x.calls?.every?.(isCount)), "layers");
  need((manifest.modules ?? []).every?.(isModule), "modules");
  const { weights, decoder, weights_bytes: bytes } = manifest;
  if (decoder) need(isDecoder(decoder), "decoder");
  const pieces = decoder?.weight_files ?? [];
  if (weights === null || weights === undefined) {
    need(areWhole(pieces, bytes), decoder ? `its weight_files are not ${PIECES} of ${bytes} bytes` : "weights");
    return;
  }
  need(pieces.length === 0, "both weights and weight_files");
  need(isFile(weights.file) && isCount(weights.bytes) && weights.parts?.every?.(isPart), "weights");
}

function isPort(port) {
  const known = isObject(port) && typeof port.name === "string" && Object.hasOwn(ARRAYS, port.dtype);
  return known && isCount(port.bytes) && port.bytes % ARRAYS[port.dtype].BYTES_PER_ELEMENT === 0
    && Boolean(port.shape?.every?.(isCount));
}

function isDecoder(decoder) {
  const { tokenizer, sites, weight_files: files = [] } = decoder;
  return ["context", "chunk", "vocabulary", "blocks"].every((name) => isCount(decoder[name] - 1))
    && (tokenizer === "" || isFile(tokenizer)) && Boolean(sites?.every?.((x) => isObject(x) && isCount(x.entries)))
    && Boolean(files?.every?.((x) => isObject(x) && isFile(x.file) && isCount(x.bytes)));
}

/** Whether the files are all of weights.bin, in order: what none of them holds would be zeros, and no error later. */
function areWhole(pieces, weightsBytes) {
  return pieces.every(({ file }, i) => file === `weights.${i}.bin`)
    && pieces.reduce((sum, { bytes }) => sum + bytes, 0) === weightsBytes;
}

function isModule(build) {
  return isObject(build) && isFile(build.file) && typeof build.isa === "string" && isCount(build.bytes);
}

/** Of manifest.weights.parts: what unpack.mjs relies on, so that no number makes it loop, or ask for all memory. */
function isPart(part) {
  if (!isObject(part) || !isCount(part.offset) || !isCount(part.bytes)) return false;
  const { bytes, item_bytes: size, kept, entries, winograd: w } = part;
  if (![1, 2, 4, 8].includes(size) || bytes % size !== 0 || part.offset % size !== 0) return false;
  if (size !== 4 && (part.coding !== "planes" || isCount(kept) || w)) return false;
  if (w && !(isCount(w.channels) && isCount(w.inputs) && isCount(w.height - 1) && isCount(w.group - 1)
    && 36 * w.channels * w.inputs <= bytes && w.matrix?.every?.((row) => row?.length === 3))) return false;
  const count = w ? 9 * w.channels * w.inputs : bytes / size;
  if (isCount(kept) && kept > count) return false;
  return part.coding !== "table" || (isCount(entries) && entries <= MOST_ENTRIES);
}
