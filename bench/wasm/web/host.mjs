// What is the same in node.js and a page: one engine is loaded, fed, compared and timed.
//
// Messages {do: "prepare" | "check" | "time", ...} become replies; what an engine throws becomes {error}.
// An engine is a module with `prepare(options, tools) -> {version, backend, code_bytes, feed, run, outputs}`; only
// run() is timed. `tools` is what differs between the places: see page.html and node.mjs.
let engine;

export async function answer(message, tools) {
  try {
    if (message.do === "prepare") return await prepare(message, tools);
    if (engine === undefined) throw new Error(`'${message.do}' before 'prepare'`);
    return message.do === "check" ? await check() : await time(message, tools);
  } catch (error) {
    return { error: String(error?.stack ? `${error.name}: ${error.message}` : error) };
  }
}

async function prepare({ engine: name, options }, tools) {
  const bytes = async (path) => {
    const response = await fetch(tools.url(path));
    if (!response.ok) throw new Error(`${path}: HTTP status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  };
  const { prepare: load } = await import(`./${name}.mjs`);
  const made = await load(options, { ...tools, bytes });
  const arrays = [];
  for (const { path, shape } of options.inputs) {
    arrays.push({ data: new Float32Array((await bytes(path)).buffer), shape });
  }
  await made.feed(arrays);
  engine = made;
  const { version, backend, code_bytes } = made;
  return { version, backend, code_bytes };
}

async function check() {
  await engine.run();
  const outputs = await engine.outputs();
  return { outputs: outputs.map(({ data, shape }) => ({ data: Array.from(data), shape: Array.from(shape) })) };
}

/** Each of `runs` inferences by itself. A run that is no promise is not awaited: that would be a turn of the loop. */
async function time({ runs, warmup }, tools) {
  const step = async () => {
    const pending = engine.run();
    if (pending instanceof Promise) await pending;
  };
  for (let i = 0; i < warmup; i++) await step();
  const wall_ns = [];
  const cpu_ns = [];
  const first = tools.clocks();
  for (let i = 0; i < runs; i++) {
    const before = tools.clocks();
    await step();
    const after = tools.clocks();
    wall_ns.push(Math.round(after.wall_ns - before.wall_ns));
    if (after.cpu_ns !== null) cpu_ns.push(Math.round(after.cpu_ns - before.cpu_ns));
  }
  const last = tools.clocks();
  return {
    wall_ns, cpu_ns: cpu_ns.length ? cpu_ns : null,
    preempted: last.preempted === null ? null : last.preempted - first.preempted,
  };
}
