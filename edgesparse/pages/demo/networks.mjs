// What demo.json says there is, and the networks of it, open.

import { ARRAYS, load } from "./runtime/model.mjs";

let description;

export async function describe() {
  description ??= await (await got("demo.json")).json();
  return description;
}

/** The network of this id, or undefined. */
export function network(id) {
  return description.networks.find((net) => net.id === id);
}

/** Open a variant: a Model of runtime/model.mjs. */
export function open(net, variant, options) {
  const cache = !navigator.serviceWorker?.controller; // which keeps files itself
  return load(new URL(`networks/${net.id}/${variant.id}/`, import.meta.url), { cache, ...options });
}

/** The stored inputs, sample after sample: [{name: TypedArray}]. */
export function storedInputs(net, model) {
  return stored(`networks/${net.id}`, net.inputs, model.inputs);
}

/** What onnxruntime answered to them: [{name: TypedArray}]. */
export function expectedOutputs(net, variant, model) {
  return stored(`networks/${net.id}/${variant.id}`, variant.expected, model.outputs);
}

async function stored(folder, files, ports) {
  const contents = await Promise.all(files.map(async (file) => (await got(`${folder}/${file}`)).arrayBuffer()));
  const count = ports[0].bytes ? contents[0].byteLength / ports[0].bytes : 1;
  return Array.from({ length: count }, (_, sample) =>
    Object.fromEntries(
      ports.map((port, i) => {
        const bytes = contents[i].slice(sample * port.bytes, (sample + 1) * port.bytes);
        return [port.name, new ARRAYS[port.dtype](bytes)];
      }),
    ),
  );
}

async function got(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name} cannot be fetched: HTTP status ${response.status}`);
  return response;
}

/** The largest error of `given`, and that over the largest value of `expected`. NaN is infinitely far. */
export function difference(expected, given) {
  let absolute = 0,
    largest = 0;
  for (const name of Object.keys(expected)) {
    const a = expected[name],
      b = given[name];
    for (let i = 0; i < a.length; i++) {
      const off = Object.is(a[i], b[i]) || a[i] === b[i] ? 0 : Math.abs(Number(a[i]) - Number(b[i]));
      absolute = Number.isNaN(off) ? Infinity : Math.max(absolute, off);
      largest = Math.max(largest, Math.abs(Number(a[i])));
    }
    if (a.length !== b?.length) absolute = Infinity;
  }
  return { absolute, relative: largest ? absolute / largest : absolute };
}

/** Bytes that are downloaded for a variant where `model` runs: its module, its weights and its manifest. */
export function downloadBytes(variant, model) {
  return weightsBytes(variant) + codeBytes(variant, model) + variant.sizes["manifest.json"];
}

export function weightsBytes(variant) {
  return Object.entries(variant.sizes).reduce((sum, [name, size]) => sum + (name.startsWith("weights.") ? size : 0), 0);
}

function codeBytes(variant, model) {
  return variant.sizes[moduleName(model)] ?? 0;
}

function moduleName({ manifest, isa, threads }) {
  return manifest.modules.find((module) => module.isa === isa && module.threads === threads > 1)?.file;
}
