// A thread beside the first: the script of the workers that threads.mjs starts. Each has an instance of its own on the
// memory of all, and does its part of every run until it is dismissed. It imports nothing, to be there soon.

async function work({ module, memory, part, stackEnd }, post) {
  let exports;
  try {
    ({ exports } = await WebAssembly.instantiate(module, { env: { memory } }));
  } catch (error) {
    post({ error: error.message });
    return;
  }
  exports.__stack_pointer.value = stackEnd;
  post({});
  exports.model_worker(part);
}

if (typeof process !== "undefined" && process.versions?.node && typeof Deno === "undefined") {
  const threads = "node:worker_threads"; // in a variable, so that bundlers do not look for it
  import(/* @vite-ignore */ /* webpackIgnore: true */ threads).then(({ parentPort }) => {
    parentPort.once("message", (job) => work(job, (reply) => parentPort.postMessage(reply)));
  });
} else {
  globalThis.onmessage = ({ data }) => work(data, (reply) => postMessage(reply));
}
