// Our own bundle through its own loader. Input and output stay in the model's memory, as execute() has them.
export async function prepare({ bundle, version, isa }, { importModule, bytes }) {
  const { loadHere } = await importModule(`${bundle}/model.mjs`);
  const model = await loadHere(bundle, {
    read: (name) => bytes(`${bundle}/${name}`), relaxed: isa === "relaxed", threads: 1, strict: true,
  });
  return {
    version,
    backend: model.isa,
    code_bytes: model.manifest.modules.find((m) => m.isa === model.isa && !m.threads).bytes,
    feed: (arrays) => {
      const views = model.inputViews();
      model.inputs.forEach((port, i) => views[port.name].set(arrays[i].data));
    },
    run: () => model.execute(),
    outputs: () => {
      const views = model.outputViews();
      return model.outputs.map((port) => ({ data: views[port.name].slice(), shape: port.shape }));
    },
  };
}
