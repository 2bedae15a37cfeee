// A thread beside the first: the script of the workers that threads.mjs starts. Each has an instance of its own on the
// memory of all, and does its part of every run until it is dismissed.

import { listen } from "./workers.mjs";

listen(async ({ module, memory, part, stackEnd }, post) => {
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
});
