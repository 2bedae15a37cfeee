// (a) Draw a digit: both networks answer with every stroke.

import { Answer, best } from "./answer.mjs";
import { h, say, trouble } from "./dom.mjs";
import { bytes, milliseconds, percent, times, variantName } from "./format.mjs";
import { typical } from "./measure.mjs";
import { open, storedInputs, weightsBytes } from "./networks.mjs";
import { Pad } from "./pad.mjs";
import * as settings from "./settings.mjs";
import { toImage } from "./strokes.mjs";

const SIZE = 8,
  BEST = 3;
const IDLE_MS = 250; // after the last stroke, inference is timed
const TURNS = 4,
  TIMED = { numRuns: 200, warmupRuns: 10, maxSecs: 0.03 };
const WARM = { numRuns: 4000, warmupRuns: 0, maxSecs: 0.2 }; // engines compile what runs often once more, for speed
const TIME = "One inference",
  WEIGHTS = "Weights to download",
  RIGHT = "Right on test images";

export async function draw(panel, net) {
  const variants = [net.variants[0], net.variants.at(-1)];
  const answers = variants.map(
    (variant, i) =>
      new Answer(
        i ? "sparse" : "dense",
        i ? "Sparse" : "Dense",
        i ? variantName(variant) : "every weight",
        BEST,
        [TIME, WEIGHTS, RIGHT],
        true,
      ),
  );
  variants.forEach((variant, i) => {
    answers[i].fact(WEIGHTS, bytes(weightsBytes(variant)));
    answers[i].fact(RIGHT, `${percent(variant.accuracy)} of ${net.test_images}`);
  });
  let shown = null; // the newest image
  let wanted = null; // the newest that nobody answered to
  let busy = true; // until the networks are there
  let idle = 0;

  const seen = h("canvas", {
    class: "seen",
    width: SIZE,
    height: SIZE,
    role: "img",
    "aria-label": "The 8 by 8 image that the networks see",
  });
  const summary = h("p", { class: "summary" }, "Draw a digit, or choose one: both networks answer at once.");
  const pad = new Pad((strokes) => {
    hint.hidden = strokes.length > 0;
    choose("");
    show(strokes.length ? toImage(strokes, 1) : null);
  });
  const hint = h("p", { class: "hint", "aria-hidden": "true" }, "Draw a digit from 0 to 9");
  const samples = h("div", { class: "samples", role: "group", "aria-label": "Digits from the test images" });
  panel.replaceChildren(
    h(
      "div",
      { class: "draw" },
      h(
        "div",
        { class: "card draw-card" },
        h("div", { class: "pad-frame" }, pad.canvas, hint),
        h(
          "div",
          { class: "row tight" },
          h(
            "button",
            {
              type: "button",
              class: "quiet",
              onclick: () => {
                pad.clear();
                pad.canvas.focus();
              },
            },
            "Clear",
          ),
          h("span", { class: "seen-frame" }, "What they see", seen),
        ),
        h(
          "p",
          { id: "pad-keys", class: "faint" },
          "With keys: arrows move, space lowers and lifts the pen, Delete clears.",
        ),
      ),
      h(
        "div",
        { class: "answers" },
        ...answers.map((answer) => answer.place),
        summary,
        h("div", { class: "card test-images" }, h("h2", {}, "Or take an image that neither was trained on"), samples),
      ),
    ),
  );

  const models = await Promise.all(variants.map((variant) => open(net, variant, { threads: 1 })));
  const nothing = new Float32Array(SIZE * SIZE);
  for (const model of models) await model.time({ [model.inputs[0].name]: nothing }, WARM);
  const [input] = models[0].inputs,
    [output] = models[0].outputs;
  const stored = (await storedInputs(net, models[0])).map((arrays) => arrays[input.name]);
  stored.forEach((image, i) => {
    const canvas = h("canvas", { width: SIZE, height: SIZE, "aria-hidden": "true" });
    paint(canvas, image);
    const label = net.labels[i];
    samples.append(
      h(
        "button",
        {
          type: "button",
          "aria-label": `Test image of a ${label}`,
          "aria-pressed": "false",
          "data-digit": label,
          onclick: () => {
            pad.clear();
            hint.hidden = true;
            choose(label);
            show(image);
          },
        },
        canvas,
      ),
    );
  });

  function choose(label) {
    settings.set({ digit: label });
    for (const button of samples.children) button.setAttribute("aria-pressed", String(button.dataset.digit === label));
  }

  function show(image) {
    paint(seen, image ?? new Float32Array(SIZE ** 2));
    shown = image;
    wanted = { image };
    if (!busy) answer();
  }

  /** Both answer to the newest image; what came while they did is next. */
  async function answer() {
    busy = true;
    clearTimeout(idle);
    while (wanted) {
      const { image } = wanted;
      wanted = null;
      try {
        const found = image && (await Promise.all(models.map((model) => model.run({ [input.name]: image }))));
        answers.forEach((place, i) =>
          place.show(found && best(found[i][output.name], BEST), (index) => net.labels[index]),
        );
        if (image) idle = setTimeout(() => timed(image).catch(trouble), IDLE_MS);
      } catch (error) {
        trouble(error);
      }
    }
    busy = false;
  }

  /** In turns, so that what else the machine does is fair to both. */
  async function timed(image) {
    const all = models.map(() => []);
    for (let turn = 0; turn < TURNS; turn++) {
      for (const [i, model] of models.entries()) {
        all[i].push(...(await model.time({ [input.name]: image }, TIMED)).wallMs);
      }
    }
    if (image !== shown) return; // somebody draws on
    const ms = all.map(typical);
    ms.forEach((one, i) => answers[i].fact(TIME, milliseconds(one)));
    const [dense, sparse] = answers.map((place) => place.big.textContent);
    const smaller = weightsBytes(variants[0]) / weightsBytes(variants[1]);
    const agree = dense === sparse ? `Both say ${dense}.` : `Dense says ${dense}, sparse ${sparse}.`;
    summary.replaceChildren(
      h("strong", {}, agree),
      ` The sparse network is ${times(ms[0] / ms[1])} as fast, and its weights are ${times(smaller)} smaller.`,
    );
    say(summary.textContent);
  }

  busy = false;
  if (wanted) answer();
  const restore = () => {
    const button = [...samples.children].find((one) => one.dataset.digit === settings.get("digit"));
    button?.click();
  };
  settings.onEdited(restore);
  restore();
  addEventListener("themechange", () => {
    pad.draw();
    for (const [i, image] of stored.entries()) paint(samples.children[i].firstChild, image);
  });
}

/** Grey values 0 to 1, of which 1 is the colour of ink. */
function paint(canvas, image) {
  const context = canvas.getContext("2d"),
    pixels = context.createImageData(SIZE, SIZE);
  const dark = document.documentElement.dataset.theme === "dark";
  image.forEach((value, i) => pixels.data.set([...(dark ? [232, 234, 240] : [22, 24, 29]), 255 * value], 4 * i));
  context.putImageData(pixels, 0, 0);
}
