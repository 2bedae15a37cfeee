// The page of language models: a prompt, what comes after it, and what that costs; two models one after the other.

import { h, say, setText, trouble } from "./dom.mjs";
import { environment, showEnvironment } from "./environment.mjs";
import { bytes, times } from "./format.mjs";
import { keepOffline, keepRest } from "./offline.mjs";
import { theme } from "./theme.mjs";
import { Writer } from "./writer.mjs";

const MOST_SEED = 2 ** 31 - 1;

theme(document.getElementById("theme"));
try {
  await main();
} catch (error) {
  trouble(error);
  console.error(error);
}

async function main() {
  const response = await fetch(new URL("demo.json", import.meta.url));
  if (!response.ok) throw new Error(`demo.json cannot be fetched: HTTP status ${response.status}`);
  const { edgesparse, models, offline } = await response.json();
  await keepOffline(offline);
  showEnvironment(document.getElementById("environment"));
  trouble(environment().whyNoSimd);
  const about = document.getElementById("about");
  about.append(`edgesparse ${edgesparse}. Everything runs in this browser; nothing is sent anywhere.`);
  document.getElementById("writing").replaceChildren(...page(models));
  document.documentElement.dataset.ready = "true";
  if (offline) keepRest(() => about.append(" It works offline once the model was loaded."));
}

/** A labelled number. */
function number(label, value, { min, max, step }) {
  const input = h("input", { type: "number", value, min, max, step, required: true });
  return [input, h("label", { class: "field" }, h("span", {}, label), input)];
}

function page(models) {
  const writers = models.map((model) => new Writer(model));
  const text = h("textarea", { id: "prompt", rows: 3, spellcheck: "false", autocapitalize: "off" });
  text.value = "def read_file(";
  const [temperature, temperatureField] = number("Temperature", 0.8, { min: 0, max: 1000, step: "any" });
  const [topP, topPField] = number("Top-p", 0.9, { min: 0.01, max: 1, step: "any" });
  const [most, mostField] = number("Tokens at most", 200, { min: 1, max: 1e6, step: 1 });
  const [seed, seedField] = number("Seed", 1, { min: 0, max: MOST_SEED, step: 1 });
  const sliding = h("input", { type: "checkbox" }), dense = h("input", { type: "checkbox" });
  const start = h("button", { type: "submit", class: "primary" }, "Write");
  const stop = h("button", { type: "button", class: "quiet", disabled: true, onclick: () => running?.abort() }, "Stop");
  const state = h("p", { class: "state", role: "status" }, sizesText(models));
  let running = null;

  async function write() {
    if (running) return;
    running = new AbortController();
    const { signal } = running;
    const options = {
      temperature: Number(temperature.value),
      topP: Number(topP.value),
      maxTokens: Number(most.value),
      seed: Number(seed.value),
      sliding: sliding.checked,
      dense: dense.checked,
      signal,
    };
    trouble("");
    start.disabled = true;
    stop.disabled = false;
    stop.focus();
    const found = [];
    try {
      for (const writer of writers) {
        setText(state, writers.length > 1 ? `Writing with ${writer.name}…` : "Writing…");
        found.push(await writer.write(text.value, options));
        if (signal.aborted) break;
      }
      setText(state, comparison(found));
      say(`Written: ${found.map(({ decoded }) => decoded + 1).join(" and ")} tokens`);
    } catch (error) {
      setText(state, signal.aborted ? "Stopped." : "");
      if (!signal.aborted) trouble(error);
    } finally {
      running = null;
      start.disabled = false;
      stop.disabled = true;
      if (document.activeElement === document.body || document.activeElement === stop) start.focus();
    }
  }

  const form = h(
    "form",
    {
      class: "card",
      onsubmit: (event) => {
        event.preventDefault();
        write();
      },
      onkeydown: (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
        if (event.key === "Escape") running?.abort();
      },
    },
    h("div", { class: "prompt" }, h("label", { for: "prompt" }, h("h2", {}, "Prompt")), text),
    h(
      "div",
      { class: "controls" },
      temperatureField,
      topPField,
      mostField,
      seedField,
      h("label", { class: "tick" }, sliding, "Go on where the context is full"),
      models.some((model) => model.sparse) ? h("label", { class: "tick" }, dense, "Dense: leave nothing out") : null,
    ),
    h("div", { class: "row" }, start, stop, state),
    h("p", { class: "faint" }, "Ctrl+Enter writes, Escape stops. The same seed writes the same text."),
  );
  return [form, h("div", { class: "texts" }, ...writers.map((writer) => writer.place))];
}

function sizesText(models) {
  return `The first time, ${bytes(models.reduce((sum, model) => sum + model.bytes, 0))} are loaded.`;
}

/** How much faster the second one was. */
function comparison(found) {
  const speeds = found.map((stats) => stats.tokensPerSecond);
  if (speeds.length < 2 || !speeds.every((speed) => speed > 0)) return "";
  return `The second is ${times(speeds[1] / speeds[0])} as fast as the first.`;
}
