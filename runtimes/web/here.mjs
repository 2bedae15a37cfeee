// Loads a bundle into the calling thread.

import { compile, instantiate } from "./compile.mjs";
import { chooseBuild, chooseThreads } from "./engine.mjs";
import { LoadError } from "./errors.mjs";
import { Files } from "./files.mjs";
import { placeOf } from "./place.mjs";
import { SyncModel } from "./sync.mjs";
import { sharedMemory } from "./threads.mjs";
import { decodeWeights } from "./unpack.mjs";

/** A SyncModel of the bundle at `base`; base and options as of load() in model.mjs. Throws LoadError. */
export async function loadHere(base, options = {}) {
  const why = [];
  const files = new Files(await placeOf(base), options, why);
  try {
    const manifest = await files.manifest();
    const threads = await chooseThreads(manifest, options, why);
    const model = await begin(manifest, threads, files, options, why);
    model.why = why;
    files.done();
    return model;
  } catch (error) {
    files.abort();
    throw error;
  }
}

/** Where threads cannot be started, one is tried instead, unless so many were asked for with options.strict. */
async function begin(manifest, threads, files, options, why) {
  const before = why.length;
  try {
    return await start(manifest, threads, files, options, why);
  } catch (error) {
    const fixed = options.strict && (options.threads ?? "auto") !== "auto";
    if (threads === 1 || fixed || !["threads", "memory"].includes(error.code)) throw error;
    why.splice(before, Infinity, `1 thread: ${error.message.split("\n")[0]}`);
    return start(manifest, 1, files, options, why);
  }
}

async function start(manifest, threads, files, options, why) {
  const tell = (phase, loaded, total) => options.onProgress?.({ phase, loaded, total });
  const build = chooseBuild(manifest, threads, options, why);
  const packed = manifest.weights, { weight_files: pieces = [], tokenizer } = manifest.decoder ?? {};
  const sizes = { [build.file]: build.bytes, ...(packed ? { [packed.file]: packed.bytes } : {}) };
  files.expect({ ...sizes, ...Object.fromEntries(pieces.map(({ file, bytes }) => [file, bytes])) });
  const [code, weights] = await Promise.all(Object.keys(sizes).map((name) => files.open(name)));
  const module = await compile(build.file, code, why);
  const memory = threads > 1 ? sharedMemory(manifest, build.bytes, threads) : undefined;
  const { exports } = await instantiate(build.file, module, memory);
  const model = new SyncModel(manifest, build, threads, exports, memory);
  try {
    if (weights) await decodeWeights(manifest, weights.stream(), { into: model.weights, verify: options.verify });
    await place(pieces, files, model.weights);
    if (tokenizer) model.tokenizerFile = await (await files.open(tokenizer)).bytes();
    await files.settle();
    tell("compile", 1, 1);
    tell("start", 0, threads);
    let started = 1;
    if (threads > 1) await model.startThreads(module, files.signal, () => tell("start", started++, threads));
    if (files.signal.aborted) throw new LoadError("aborted", "loading was aborted", "", files.signal.reason);
    tell("start", threads, threads);
  } catch (error) {
    await model.close();
    throw error;
  }
  return model;
}

/** Weights of language models, as they are: piece after piece, so that none but the next is in memory twice. That they
 * fill `into` together has been checked with the manifest. */
async function place(pieces, files, into) {
  let at = 0;
  for (const [i, { file, bytes }] of pieces.entries()) {
    const content = files.take(file);
    if (i + 1 < pieces.length) files.open(pieces[i + 1].file); // comes while this one is compared and copied
    const { length } = await content;
    if (length !== bytes) {
      throw new LoadError("damaged", `${file} is damaged: it holds ${length} bytes`, "copy the bundle again");
    }
    into.set(await content, at);
    at += length;
  }
}
