// (c) The model that `edgesparse demo model.onnx` was given, on images of the user or on random numbers.

import { Answer, best } from "./answer.mjs";
import { Camera } from "./camera.mjs";
import { h, say, select, setText, trouble } from "./dom.mjs";
import { environment } from "./environment.mjs";
import { explain } from "./explain.mjs";
import { bytes, driftText, milliseconds, scientific, times, variantName } from "./format.mjs";
import { measure } from "./measure.mjs";
import { open, storedInputs, weightsBytes } from "./networks.mjs";
import { FITS, fitted, imageShape, SCALES, toInput } from "./picture.mjs";
import { resultOf, takeAway } from "./results.mjs";
import * as settings from "./settings.mjs";

const BEST = 5;
const TIME = "One inference",
  WEIGHTS = "Weights to download",
  OFF = "Largest difference to onnxruntime";

function portText({ name, shape, dtype }) {
  return `${name}: ${shape.join("×")} ${dtype}`;
}

/** Whether an output has a number for each class and nothing else: boxes, masks and images have no best classes. */
function isScores({ shape, dtype, bytes }) {
  return dtype === "f32" && bytes > 4 && 4 * Math.max(...shape) === bytes;
}

export async function yours(panel, description, net) {
  if (!net) return explain(panel);
  const env = environment();
  const sparse = net.variants.filter((variant) => variant !== net.variants[0]);
  const left = net.variants[0];
  let right = sparse.find((variant) => variant.id === settings.get("variant")) ?? sparse.at(-1) ?? left;
  let models = null,
    source = null,
    working = false,
    again = false,
    newest = 0, // of the images that were chosen
    result = null;

  const answers = [
    new Answer("dense", left.sparsity ? "First" : "Dense", left.sparsity ? variantName(left) : "every weight", BEST, [
      TIME,
      WEIGHTS,
      OFF,
    ]),
    new Answer("sparse", "Sparse", variantName(right), BEST, [TIME, WEIGHTS, OFF]),
  ];
  const state = h("p", { class: "state", role: "status" });
  const timing = h("button", { type: "button", class: "primary", onclick: () => timed() }, "Measure both");
  const take = takeAway(() => result, "edgesparse-model");
  const body = h("div", { class: "draw" });
  panel.replaceChildren(body);
  setText(state, "loading the model");
  body.append(h("div", { class: "card" }, state));
  const how = { threads: env.whyNoThreads ? 1 : "auto", relaxed: !env.whyNoRelaxed };
  models = await Promise.all([left, right].map((variant) => open(net, variant, how)));
  const port = models[0].inputs[0],
    shape = models[0].inputs.length === 1 ? imageShape(port) : null;
  const scores = models[0].outputs.find(isScores);
  const [random] = await storedInputs(net, models[0]);
  const seen = h("canvas", { class: "preview", role: "img", "aria-label": "The image as the network sees it" });
  const camera = new Camera(
    () => answer(camera.video),
    (text) => setText(state, text),
  );

  body.replaceChildren(
    h(
      "div",
      { class: "card" },
      h("h2", {}, net.title),
      h("p", { class: "faint" }, `${net.about}.`),
      shape && !scores
        ? h(
            "p",
            { class: "no-scores" },
            `No output is a list of scores (${models[0].outputs.map(portText).join(", ")}), so no classes are shown: ` +
              "times, sizes and differences are.",
          )
        : "",
      ...(shape
        ? pictures()
        : [
            h(
              "p",
              {},
              `Its inputs are no images (${models[0].inputs.map(portText).join(", ")}), ` +
                "so it gets random numbers: the times mean something, the answers do not.",
            ),
          ]),
      sparse.length > 1
        ? select(
            "Sparse network",
            sparse.map((one) => [one.id, variantName(one)]),
            right.id,
            change,
          )
        : "",
      h("div", { class: "row" }, timing, state),
      take.place,
    ),
    h("div", { class: "answers" }, ...answers.map((one) => one.place)),
  );
  showSizes();

  function pictures() {
    const file = h("input", {
      type: "file",
      accept: "image/*",
      id: "upload",
      class: "sr",
      onchange: () => {
        if (file.files[0]) opened(file.files[0]);
      },
    });
    const drop = h(
      "label",
      {
        class: "drop",
        for: "upload",
        ondragover: (e) => {
          e.preventDefault();
          drop.classList.add("over");
        },
        ondragleave: () => drop.classList.remove("over"),
        ondrop: (e) => {
          e.preventDefault();
          drop.classList.remove("over");
          if (e.dataTransfer.files[0]) opened(e.dataTransfer.files[0]);
        },
      },
      seen,
      h("span", {}, "Choose an image, or drop one here"),
    );
    const thumbs = description.samples.map(({ file: name, name: title }) =>
      h(
        "button",
        {
          type: "button",
          "aria-label": `Sample image ${title}`,
          "data-sample": name,
          onclick: () => {
            settings.set({ sample: name });
            shown(new URL(name, import.meta.url).href);
          },
        },
        h("img", { src: name, alt: "" }),
      ),
    );
    const option = (label, name, options) =>
      select(label, options, settings.get(name), (value) => {
        settings.set({ [name]: value });
        answer();
      });
    queueMicrotask(() => thumbs.find((one) => one.dataset.sample === settings.get("sample"))?.click());
    return [
      file,
      drop,
      h("div", { class: "samples photos", role: "group", "aria-label": "Sample images" }, ...thumbs),
      h("div", { class: "row" }, camera.button),
      h(
        "div",
        { class: "controls" },
        option("Fit", "fit", Object.entries(FITS)),
        option(
          "Values",
          "scale",
          Object.entries(SCALES).map(([name, [title]]) => [name, title]),
        ),
        shape.channels === 3
          ? option("Order", "order", [
              ["rgb", "red green blue"],
              ["bgr", "blue green red"],
            ])
          : "",
      ),
    ];
  }

  function opened(file) {
    settings.set({ sample: "" });
    shown(URL.createObjectURL(file), () => `${file.name} is no image that this browser shows`);
  }

  async function shown(url, why = () => `${url} cannot be shown`) {
    camera.stop();
    const image = new Image();
    image.src = url;
    const number = ++newest;
    try {
      await image.decode();
      if (number !== newest) return; // another was chosen meanwhile
      trouble("");
      await answer(image);
    } catch {
      if (number === newest) trouble(why());
    } finally {
      if (url.startsWith("blob:")) URL.revokeObjectURL(url);
    }
  }

  function inputs() {
    return shape && source
      ? { [port.name]: toInput(seen, port, settings.get("scale"), settings.get("order")) }
      : random;
  }

  /** Both answer to `given`, or once more to what they have; what comes while they do is next. */
  async function answer(given = source) {
    source = given;
    again = true;
    if (working || !models || (shape && !source)) return;
    working = true;
    try {
      while (again) {
        again = false;
        if (shape) fitted(seen, source, shape, settings.get("fit"));
        const arrays = inputs();
        for (const [i, model] of models.entries()) {
          const before = performance.now();
          const outputs = await model.run(arrays);
          answers[i].fact(TIME, `${milliseconds(performance.now() - before)}, once`);
          if (shape && scores) answers[i].show(best(outputs[scores.name], BEST), labelled);
        }
      }
    } catch (error) {
      trouble(error);
    }
    working = false;
    if (camera.on) return;
    if (shape && scores) say(answers.map((one) => one.place.querySelector(".name").textContent).join(" and "));
  }

  function labelled(index) {
    return net.labels[index] ?? `class ${index}`;
  }

  /** What was found out about the one before is taken away. */
  async function change(id) {
    const wanted = sparse.find((variant) => variant.id === id);
    right = wanted;
    settings.set({ variant: id });
    result = null;
    take.enable();
    setText(state, "");
    setText(answers[1].about, variantName(right));
    for (const name of [TIME, OFF]) answers[1].fact(name, "–");
    answers[1].show(null);
    showSizes();
    while (working) await new Promise((resolve) => setTimeout(resolve, 20));
    if (right !== wanted) return;
    working = true;
    try {
      await models[1].close();
      models[1] = await open(net, right, how);
    } catch (error) {
      trouble(error);
    } finally {
      working = false;
    }
    await answer();
  }

  function showSizes() {
    [left, right].forEach((variant, i) =>
      answers[i].fact(WEIGHTS, `${bytes(weightsBytes(variant))}${i ? "" : ` (gzip: ${bytes(net.dense_gzip_bytes)})`}`),
    );
  }

  async function timed() {
    camera.stop();
    timing.disabled = true;
    const pair = [left, right];
    try {
      const found = [];
      const measured = (variant) => {
        setText(state, `measuring ${variantName(variant)}`);
        return measure(net, variant, { ...how, threads: models[0].threads, seconds: 1 });
      };
      for (const [i, variant] of pair.entries()) {
        found.push(await measured(variant));
        if (right !== pair[1]) break;
        answers[i].fact(TIME, milliseconds(found[i].ms));
        answers[i].fact(OFF, `${scientific(found[i].difference.relative)} of the largest output`);
      }
      const again = right === pair[1] ? await measured(left) : found[0];
      const drift = again.ms / found[0].ms - 1;
      if (drift < 0) found[0] = again; // what slowed it down must not be to the credit of the other
      answers[0].fact(TIME, milliseconds(found[0].ms));
      if (right === pair[1]) {
        setText(
          state,
          `${variantName(right)} is ${times(found[0].ms / found[1].ms)} as fast as ${variantName(left)}; ` +
            `${found[0].backend}. ${driftText(drift, variantName(left))}`,
        );
        result = resultOf(description, net, found, { dense_again: 1 + drift });
        take.enable();
      } else {
        setText(state, "another network was chosen: measure again");
      }
    } catch (error) {
      trouble(error);
    }
    timing.disabled = false;
  }

  setText(state, shape ? "" : models[0].backend);
  if (!shape) await answer();
  if (settings.get("run") && settings.get("tab") === "yours") await timed();
  return undefined;
}
