// LiteRT.js on the CPU: XNNPACK with relaxed SIMD where the engine has it, else SIMD128. It reads .tflite; weights
// that are stored sparse make XNNPACK try its sparse kernels.
const CORE = "/npm-litert/@litertjs/core";

export async function prepare({ model, version }, { browser, runScript, importModule, bytes }) {
  // It looks for a page or a worker; in node.js its loader works all the same, given a worker's two globals.
  if (!browser) {
    globalThis.self = globalThis;
    globalThis.importScripts = (path) => { globalThis.ModuleFactory = runScript(path); };
  }
  const { loadLiteRt, loadAndCompile, supportsFeature, Tensor } = await importModule(`${CORE}/dist/index.js`);
  await loadLiteRt(`${CORE}/wasm/`);
  const relaxed = await supportsFeature("relaxedSimd");
  const name = relaxed ? "litert_wasm_internal.wasm" : "litert_wasm_compat_internal.wasm";
  const compiled = await loadAndCompile(await bytes(model), { accelerator: "wasm", cpuOptions: { numThreads: 1 } });
  let inputs;
  let results = [];
  return {
    version,
    backend: relaxed ? "relaxed" : "simd128",
    code_bytes: (await bytes(`${CORE}/wasm/${name}`)).length,
    feed: (arrays) => { inputs = arrays.map(({ data, shape }) => new Tensor(data, shape)); },
    run: async () => {
      for (const tensor of results) tensor.delete();
      results = await compiled.run(inputs);
    },
    outputs: () => results.map((tensor) => ({ data: tensor.toTypedArray().slice(), shape: tensor.type.layout.dimensions })),
  };
}
