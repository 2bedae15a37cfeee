// The module of a bundle: compiled while it is downloaded, where that can be.

import { LoadError } from "./errors.mjs";
import { WASM } from "./download.mjs";

const CSP = "the Content-Security-Policy of the page needs 'wasm-unsafe-eval' in script-src";

/** Compile the download of `name`. `why` gets the reason where that has to wait for its end. Throws LoadError. */
export async function compile(name, download, why) {
  const streams = typeof WebAssembly.compileStreaming === "function";
  if (streams && download.response === undefined && download.mime !== undefined) {
    const reason = `the server calls ${name} '${download.mime}' instead of ${WASM}`;
    why.push(`compiled after the download: ${reason}`);
  }
  try {
    return await (download.response ? WebAssembly.compileStreaming(download.response)
      : WebAssembly.compile(await download.bytes()));
  } catch (cause) {
    await download.bytes(); // throws where not the module is wrong, but its download
    throw new LoadError("compile", `${name} does not compile: ${cause.message}`, hint(cause, download), cause);
  }
}

function hint(cause, download) {
  if (/content security policy|unsafe-eval/i.test(cause.message)) return CSP;
  if (download.mime === "text/html") return "the server answers with a page: is the file there?";
  return "copy the bundle again";
}

/** An instance, on `memory` where it is built for threads. Throws LoadError. */
export async function instantiate(name, module, memory) {
  try {
    return await WebAssembly.instantiate(module, memory === undefined ? {} : { env: { memory } });
  } catch (cause) {
    if (cause instanceof RangeError) {
      throw new LoadError("memory", `${name} gets no memory: ${cause.message}`,
        "close models that are not needed, or other pages", cause);
    }
    throw new LoadError("compile", `${name} cannot be instantiated: ${cause.message}`, "", cause);
  }
}

/** es_the_model (model_info.h) is what the module was compiled for, whatever the manifest says. Throws LoadError. */
export function checkSizes(manifest, exports, memory) {
  const at = Number(exports.es_the_model?.value);
  const view = memory && new DataView(memory.buffer);
  const u32 = (from) => view.getUint32(from, true);
  const u64 = (from) => Number(view.getBigUint64(from, true));
  const ports = (count, from) => Array.from({ length: u32(count) }, (_, i) => u64(u32(from) + 16 * i + 8));
  const sizes = (list) => list.map((port) => port.bytes);
  let compiled;
  try {
    compiled = [u64(at + 8), u64(at + 16), u64(at + 24), ports(at + 32, at + 40), ports(at + 36, at + 44)];
  } catch (cause) {
    throw new LoadError("manifest", "the module is none that edgesparse compiled", "copy the bundle again", cause);
  }
  const said = [manifest.arena_bytes, manifest.weights_bytes, manifest.scratch_bytes, sizes(manifest.inputs),
    sizes(manifest.outputs)];
  if (JSON.stringify(compiled) !== JSON.stringify(said)) {
    throw new LoadError("manifest",
      "manifest.json and the module disagree on [arena, weights, scratch, inputs, outputs] in bytes: "
        + `${JSON.stringify(said)} and ${JSON.stringify(compiled)}`,
      "compile the model again, or copy the bundle again");
  }
}
