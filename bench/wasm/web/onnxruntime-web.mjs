// onnxruntime-web, its WebAssembly provider with all graph optimisations: the ONNX file as it is. There is one
// build of it, with SIMD128.
const DIST = "/npm-onnxruntime-web/onnxruntime-web/dist";

export async function prepare({ model, version }, { browser, url, importModule, bytes }) {
  // ort.min.mjs of node.js also knows the plain CPU provider of another package; both load the same .wasm
  const ort = await importModule(`${DIST}/${browser ? "ort.wasm.min.mjs" : "ort.node.min.mjs"}`);
  ort.env.wasm.numThreads = 1;
  if (browser) ort.env.wasm.wasmPaths = url(`${DIST}/`);
  const session = await ort.InferenceSession.create(await bytes(model), {
    executionProviders: ["wasm"], graphOptimizationLevel: "all", logSeverityLevel: 3,
  });
  let feeds;
  let results;
  return {
    version,
    backend: "simd128",
    code_bytes: (await bytes(`${DIST}/ort-wasm-simd-threaded.wasm`)).length,
    feed: (arrays) => {
      feeds = Object.fromEntries(
        arrays.map(({ data, shape }, i) => [session.inputNames[i], new ort.Tensor("float32", data, shape)]),
      );
    },
    run: async () => { results = await session.run(feeds); },
    outputs: () => session.outputNames.map((name) => ({ data: results[name].data, shape: results[name].dims })),
  };
}
