// Times of models, and how far their outputs are off. Knows nothing of the page.

import { environment } from "./environment.mjs";
import { median, quartiles } from "./format.mjs";
import { difference, downloadBytes, expectedOutputs, open, storedInputs, weightsBytes } from "./networks.mjs";

const CHUNK_S = 0.2; // so often the page hears of the times
const CHUNK_RUNS = 200;
const LAYER_S = 0.5;
const STEPS = 20; // of the clock; shorter times are taken from the sum of many

/** The time of one run from those of many: their median, or where the clock is coarse their mean. */
export function typical(wallMs) {
  const middle = median(wallMs);
  return middle >= STEPS * environment().clock_step_ms
    ? middle
    : wallMs.reduce((sum, ms) => sum + ms, 0) / wallMs.length;
}

/**
 * Open a variant, compare its outputs with onnxruntime's, time it for `seconds` and its layers once.
 *
 * `onStep({what, share, ms})` hears of downloads and of times as they come. Throws what `signal` is aborted with.
 */
export async function measure(net, variant, { threads, relaxed, seconds }, signal, onStep = () => {}) {
  const onProgress = ({ phase, loaded, total }) => onStep({ what: phase, share: total ? loaded / total : 0 });
  const model = await open(net, variant, { threads, relaxed, signal, onProgress });
  try {
    const [inputs, expected] = await Promise.all([storedInputs(net, model), expectedOutputs(net, variant, model)]);
    const off = difference(expected[0], await model.run(inputs[0]));
    const wallMs = [];
    const end = performance.now() + 1000 * seconds;
    await model.time(inputs[0], { numRuns: CHUNK_RUNS, warmupRuns: 1, maxSecs: Math.min(CHUNK_S, seconds) });
    do {
      signal?.throwIfAborted();
      const timed = await model.time(inputs[0], { numRuns: CHUNK_RUNS, warmupRuns: 0, maxSecs: CHUNK_S });
      wallMs.push(...timed.wallMs);
      onStep({
        what: "measuring",
        share: Math.min(1, 1 - (end - performance.now()) / 1000 / seconds),
        ms: typical(wallMs),
      });
    } while (performance.now() < end);
    const { callMs } = await model.time(inputs[0], {
      numRuns: CHUNK_RUNS,
      warmupRuns: 1,
      perLayer: true,
      maxSecs: Math.min(LAYER_S, seconds),
    });
    const [from, to] = quartiles(wallMs);
    return {
      id: variant.id,
      sparsity: variant.sparsity,
      pattern: variant.pattern,
      ms: typical(wallMs),
      quartile_ms: [from, to],
      runs: wallMs.length,
      difference: off,
      download_bytes: downloadBytes(variant, model),
      weights_bytes: weightsBytes(variant),
      macs: model.manifest.layers.reduce((sum, layer) => sum + layer.macs, 0),
      isa: model.isa,
      threads: model.threads,
      backend: model.backend,
      why: model.why,
      layers: layerTimes(model.manifest, callMs),
    };
  } finally {
    await model.close();
  }
}

/** One row for each node of the ONNX file: kernels that work for the same one are added up. */
function layerTimes(manifest, callMs) {
  const rows = new Map();
  for (const layer of manifest.layers) {
    if (!layer.calls.length) continue;
    const ms = typical(callMs.map((run) => layer.calls.reduce((sum, call) => sum + run[call], 0)));
    const row = rows.get(layer.name) ?? { name: layer.name, ops: [], shape: [], pattern: "", zeros: 0, macs: 0, ms: 0 };
    row.ops.push(layer.op);
    row.shape = layer.shape;
    row.pattern ||= layer.pattern;
    row.zeros = Math.max(row.zeros, layer.zeros);
    row.macs += layer.macs;
    row.ms += ms;
    rows.set(layer.name, row);
  }
  return [...rows.values()];
}
