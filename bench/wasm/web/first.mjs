// What a visitor waits for: from the first byte of the runtime's code to the first outputs, nothing cached.
// Milliseconds, and the outputs as plain arrays.
async function ours({ bundle, input }, values) {
  const { load } = await import(`${bundle}/model.mjs`);
  const model = await load(`${bundle}/`, { threads: 1, cache: false });
  const found = await model.run({ [model.inputs[0].name]: values });
  return { outputs: [...found[model.outputs[0].name]], close: () => model.close(), input };
}

async function onnxruntime({ dist, model, input }, values) {
  const ort = await import(`${dist}/ort.wasm.min.mjs`);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL(`${dist}/`, location.origin).href;
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], logSeverityLevel: 3 });
  const found = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", values, input.shape) });
  return { outputs: [...found[session.outputNames[0]].data], close: () => session.release() };
}

export async function first(options) {
  const values = new Float32Array(await (await fetch(options.input.path)).arrayBuffer());
  const begin = performance.now();
  const { outputs, close } = await (options.bundle ? ours : onnxruntime)(options, values);
  const ms = performance.now() - begin;
  await close();
  return { ms, outputs };
}
