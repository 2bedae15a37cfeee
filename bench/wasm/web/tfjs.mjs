// TensorFlow.js on its WebAssembly backend (XNNPACK inside), layer by layer from bench.wasm.layers: fused
// convolutions in NHWC, weights kept, what lies between freed by tidy(). No converter is needed, and none is timed.
const NPM = "/npm-tfjs/@tensorflow";
const BINARY = "tfjs-backend-wasm-simd.wasm";

export async function prepare({ layers, weights, version }, { browser, url, require, runScript, bytes }) {
  const tf = await load(browser, { url, require, runScript });
  const network = JSON.parse(new TextDecoder().decode(await bytes(layers)));
  const { buffer } = await bytes(weights);
  const constant = ({ offset, shape }) =>
    tf.tensor(new Float32Array(buffer, offset, shape.reduce((a, b) => a * b, 1)).slice(), shape);
  const steps = network.steps.map((step) => ({
    ...step,
    ...(step.weight && { weight: constant(step.weight) }),
    ...(step.bias && { bias: constant(step.bias) }),
  }));
  let inputs;
  let results = [];
  const once = () => {
    const values = Object.fromEntries(network.inputs.map((name, i) => [name, inputs[i]]));
    for (const step of steps) values[step.output] = OPERATORS[step.op](tf, step, step.inputs.map((n) => values[n]));
    return network.outputs.map((name) => values[name]);
  };
  return {
    version,
    backend: "simd128",
    code_bytes: (await bytes(`${NPM}/tfjs-backend-wasm/dist/${BINARY}`)).length,
    feed: (arrays) => { inputs = arrays.map(({ data, shape }) => tf.tensor(data, shape)); },
    run: () => {
      tf.dispose(results);
      results = tf.tidy(once);
    },
    outputs: () => results.map((tensor) => ({ data: tensor.dataSync(), shape: tensor.shape })),
  };
}

async function load(browser, { url, require, runScript }) {
  let tf;
  let wasm;
  if (browser) {
    await runScript(`${NPM}/tfjs-core/dist/tf-core.min.js`);
    await runScript(`${NPM}/tfjs-backend-wasm/dist/tf-backend-wasm.min.js`);
    ({ tf } = globalThis);
    ({ wasm } = tf);
    wasm.setWasmPaths(url(`${NPM}/tfjs-backend-wasm/dist/`));
  } else {
    tf = require(`${NPM}/tfjs-core`);
    wasm = require(`${NPM}/tfjs-backend-wasm`);
  }
  // one thread: the build without threads is the faster one
  tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
  await tf.setBackend("wasm");
  await tf.ready();
  return tf;
}

const OPERATORS = {
  conv: (tf, { weight, bias, strides, pad, activation }, [x]) =>
    tf.fused.conv2d({ x, filter: weight, bias, strides, pad, activation }),
  depthwise: (tf, { weight, bias, strides, pad, activation }, [x]) =>
    tf.fused.depthwiseConv2d({ x, filter: weight, bias, strides, pad, activation }),
  dense: (tf, { weight, bias, activation }, [a]) => tf.fused.matMul({ a, b: weight, bias, activation }),
  add: (tf, step, [a, b]) => tf.add(a, b),
  mean: (tf, step, [x]) => tf.mean(x, [1, 2], true),
  reshape: (tf, { shape }, [x]) => tf.reshape(x, shape),
  relu: (tf, step, [x]) => tf.relu(x),
  relu6: (tf, step, [x]) => tf.relu6(x),
};
