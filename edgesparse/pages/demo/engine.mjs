// The runtime of bundles, as this page uses it: loaded in a worker, cached by the runtime unless the service worker
// does so already.

import * as runtime from "./runtime/model.mjs";

export const { features } = runtime;

export async function load(base, options = {}) {
  const model = await runtime.load(base, { ...options, threads: options.threads === "auto" ? 2 : options.threads ?? 1, relaxed: options.relaxed });
  return new Here(model, options);
}

/** A model of the older interface, on this thread. */
class Here {
  constructor(model, options) {
    this.isa = model.isa;
    this.model = model;
    this.manifest = model.manifest;
    this.inputs = model.inputs;
    this.outputs = model.outputs;
    this.threads = model.threads;
    this.why = options.relaxed === false ? [] : ["SIMD128: no relaxed build yet"];
    this.backend = `SIMD128, ${model.threads} threads`;
  }

  async run(inputs) {
    return this.model.run(inputs);
  }

  async time(inputs, { numRuns = 10, warmupRuns = 0, perLayer = false, maxSecs = 0 } = {}) {
    this.model.run(inputs);
    for (let i = 0; i < warmupRuns; i++) this.model.execute();
    const wallMs = [], callMs = [], begin = performance.now();
    const calls = 1 + Math.max(-1, ...this.manifest.layers.flatMap((layer) => layer.calls));
    for (let i = 0; i < numRuns; i++) {
      let before = performance.now();
      this.model.execute();
      wallMs.push(performance.now() - before);
      if (perLayer) {
        callMs.push(Array.from({ length: calls }, (_, call) => {
          before = performance.now();
          this.model.execute(call, call + 1);
          return performance.now() - before;
        }));
      }
      if (maxSecs && performance.now() - begin > 1000 * maxSecs) break;
    }
    await new Promise((resolve) => setTimeout(resolve));
    return { wallMs, callMs };
  }

  close() {
    this.model.close();
  }
}
