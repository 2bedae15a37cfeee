// The script of the worker that remote.mjs starts: it loads one model and runs it.
//
// {id, call, given} is answered by {id, value} or {id, error}, maybe after some {id, part}; {progress} and {reads} come of
// themselves, the latter answered by {read, bytes} or {read, error}. Other scripts add calls (texts.mjs).

import { packed, RunError, unpacked } from "./errors.mjs";
import { loadHere } from "./here.mjs";
import { listen } from "./workers.mjs";

let model;
let post;
const reads = new Map(); // name -> {resolve, reject}

/** What the file is, from the other side: options.read is a function of theirs. */
function read(name) {
  return new Promise((resolve, reject) => {
    reads.set(name, { resolve, reject });
    post({ reads: name });
  });
}

/** What can be asked for: (given, part) => value. */
export const calls = {
  async load({ place, options, theirs }) {
    const onProgress = (progress) => post({ progress });
    model = await loadHere(place, { ...options, onProgress, ...(theirs ? { read } : {}) });
    const { manifest, isa, threads, why, tokenizerFile } = model;
    return { manifest, isa, threads, why, tokenizerFile };
  },
  run: (inputs) => model.run(inputs),
  close: () => void model.dismiss(), // the workers end with this one
  time: ({ inputs, options }) => model.time(inputs, options),
};

/** The SyncModel. */
export function loaded() {
  return model;
}

async function answer({ id, call, given }) {
  try {
    if (call !== "load" && model === undefined) throw new RunError("closed", "the model is not loaded");
    const value = await calls[call](given, (part) => post({ id, part }));
    post({ id, value }, call === "run" ? Object.values(value).map((array) => array.buffer) : []);
  } catch (error) {
    post({ id, error: packed(error) });
  }
}

listen((message, reply) => {
  post = reply;
  if (message.read === undefined) return answer(message);
  const { resolve, reject } = reads.get(message.read);
  reads.delete(message.read);
  return message.error ? reject(unpacked(message.error)) : resolve(message.bytes);
});
