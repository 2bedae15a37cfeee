// The script of the worker of a language model: host.mjs, which besides writes texts by itself. A message there and back
// for each token would take longer than many a token.

import { generate } from "./generate.mjs";
import { calls, loaded } from "./host.mjs";

const EACH_MS = 16; // so often what is new is told, at most

let stop = null;
let last = Promise.resolve();

/** Tells `part({tokens, cost})` of what is new; `cost` as of onCost. */
calls.generate = (given, part) => {
  const ends = stop = new AbortController();
  if (given.aborted) ends.abort();
  const writing = last.then(() => write(given, part, ends.signal)); // the one before may have been told to end just now
  last = writing.catch(() => {});
  return writing;
};

async function write({ prompt, options }, part, signal) {
  let tokens = [], cost, told = -Infinity;
  const tell = () => {
    part({ tokens, cost });
    tokens = [];
    told = performance.now();
  };
  const onCost = (now) => { cost = now; };
  for await (const token of generate(loaded(), prompt, { ...options, onCost, signal })) {
    tokens.push(token);
    if (performance.now() - told >= EACH_MS) tell();
  }
  tell();
}

calls.stop = () => stop?.abort();
