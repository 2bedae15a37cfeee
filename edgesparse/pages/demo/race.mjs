// (b) The race: one network at several sparsities and patterns, one after the other.

import { choice, h, say, select, setText, trouble } from "./dom.mjs";
import { environment } from "./environment.mjs";
import { bytes, driftText, milliseconds, scientific, times, variantName } from "./format.mjs";
import { layersCard } from "./layers.mjs";
import { measure } from "./measure.mjs";
import { weightsBytes } from "./networks.mjs";
import { patternsOf, plot } from "./plot.mjs";
import { resultOf, takeAway } from "./results.mjs";
import * as settings from "./settings.mjs";

const PHASES = { download: "downloading", compile: "compiling", start: "starting", measuring: "measuring" };

/** `networks`: those that race. */
export function race(panel, description, networks) {
  const env = environment();
  let found = null,
    running = null,
    net = null,
    result = null;

  const start = h(
    "button",
    { type: "button", class: "primary", onclick: () => (running ? stop() : go()) },
    "Start the race",
  );
  const state = h("p", { class: "state", role: "status" });
  const headline = h("div", { class: "headline", hidden: true });
  const list = h("tbody");
  const more = h("div", { class: "more" });
  const take = takeAway(() => result, "edgesparse-race");
  const controls = h("div", { class: "controls" });
  const title = h("h2"),
    about = h("p", { class: "faint" });
  panel.replaceChildren(
    h(
      "div",
      { class: "card" },
      title,
      about,
      controls,
      h("div", { class: "row" }, start, state),
      headline,
      h(
        "table",
        { class: "race", role: "table" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ...["Network", "Time of one inference", "Median", "Speed-up", "Weights", "Difference"].map((text) =>
              h("th", { scope: "col" }, text),
            ),
          ),
        ),
        list,
      ),
      take.place,
    ),
    more,
  );

  let rows = new Map();

  function prepare() {
    net = networks.find((one) => one.id === `race-${settings.get("network")}`) ?? networks[0];
    setText(title, net.title);
    setText(about, `${net.about}. The dense weights as gzip: ${bytes(net.dense_gzip_bytes)}.`);
    const changed = (name) => (value) => {
      settings.set({ [name]: value });
      reset();
    };
    const held = controls.contains(document.activeElement) ? document.activeElement.name : null;
    controls.replaceChildren(
      networks.length > 1
        ? select(
            "Network",
            networks.map((one) => [one.id.replace("race-", ""), one.title]),
            net.id.replace("race-", ""),
            changed("network"),
          )
        : "",
      choice(
        "threads",
        "Threads",
        [
          ["1", "1", ""],
          ["all", `${env.most_threads}`, env.whyNoThreads],
        ],
        env.whyNoThreads ? "1" : settings.get("threads"),
        changed("threads"),
      ),
      choice(
        "relaxed",
        "Relaxed SIMD",
        [
          ["on", "On", env.whyNoRelaxed],
          ["off", "Off", ""],
        ],
        env.whyNoRelaxed ? "off" : settings.get("relaxed"),
        changed("relaxed"),
      ),
      choice(
        "seconds",
        "Measure each for",
        ["1", "3", "10"].map((x) => [x, `${x} s`, ""]),
        settings.get("seconds"),
        changed("seconds"),
      ),
    );
    if (held !== null) controls.querySelector(held ? `input[name=${held}]:checked` : "select")?.focus();
    rows = new Map(net.variants.map((variant) => [variant.id, new Row(variant)]));
    list.replaceChildren(...[...rows.values()].map((row) => row.place));
  }

  function reset() {
    stop();
    found = result = null;
    headline.hidden = true;
    more.replaceChildren();
    setText(state, "");
    take.enable();
    prepare();
  }

  function stop() {
    running?.abort(new DOMException("stopped", "AbortError"));
    running = null;
    setText(start, found ? "Race again" : "Start the race");
  }

  async function go() {
    reset();
    const mine = (running = new AbortController());
    setText(start, "Stop");
    trouble("");
    const how = {
      threads: settings.get("threads") === "all" && !env.whyNoThreads ? env.most_threads : 1,
      relaxed: settings.get("relaxed") === "on" && !env.whyNoRelaxed,
      seconds: Number(settings.get("seconds")) || 1,
    };
    const done = [];
    try {
      for (const [number, variant] of net.variants.entries()) {
        const row = rows.get(variant.id),
          name = variantName(variant);
        row.place.dataset.state = "running";
        setText(state, `${number + 1} of ${net.variants.length}: ${name}`);
        const measured = await measure(net, variant, how, mine.signal, (step) => {
          if (mine === running) row.step(step, done[0]?.ms, longest(done, step.ms));
        });
        if (mine !== running) return;
        done.push(measured);
        for (const one of done) rows.get(one.id).show(one, done[0], longest(done));
        row.place.dataset.state = "done";
      }
      setText(state, "the dense network once more, to see whether the device became slower");
      const again = await measure(net, net.variants[0], how, mine.signal);
      if (mine !== running) return;
      const drift = again.ms / done[0].ms - 1;
      if (drift < 0) done[0] = again; // what slowed it down must not be to the credit of the others
      for (const one of done) rows.get(one.id).show(one, done[0], longest(done));
      finish(done, drift);
    } catch (error) {
      if (mine.signal.aborted) return;
      trouble(error);
      setText(state, "the race was not finished");
      stop();
    }
  }

  function finish(done, drift) {
    found = done;
    result = resultOf(description, net, done, { settings: { ...settingsOf() }, dense_again: 1 + drift });
    stop();
    const best = done.reduce((a, b) => (b.ms < a.ms ? b : a));
    headline.hidden = false;
    headline.replaceChildren(
      h("strong", {}, times(done[0].ms / best.ms)),
      h(
        "span",
        {},
        best === done[0]
          ? "no sparse network was faster"
          : ` as fast as dense, with ${variantName(best)}: ${milliseconds(best.ms)} instead of ` +
              `${milliseconds(done[0].ms)}, ${bytes(best.weights_bytes)} of weights instead of ` +
              bytes(done[0].weights_bytes),
      ),
    );
    const slower = driftText(drift, "the dense network");
    setText(state, `${done[0].backend}. ${done[0].why.join(". ")}${done[0].why.length ? ". " : ""}${slower}`);
    say(`The race is finished. ${headline.textContent}`);
    take.enable();
    const patterns = patternsOf(done);
    more.replaceChildren(
      h(
        "div",
        { class: "card" },
        h("h2", {}, "Latency over sparsity"),
        h(
          "ul",
          { class: "legend" },
          ...patterns.map((pattern, i) => h("li", {}, h("i", { class: `key${i}` }), pattern)),
          h("li", {}, h("i", { class: "key-ideal" }), "ideal: time in proportion to the multiplications left"),
        ),
        plot(done),
      ),
      layersCard(done),
    );
  }

  prepare();
  take.enable();
  settings.onEdited(() => {
    if (!running) prepare();
  });
  // what is done behind another tab would disturb the times, and be disturbed
  return { go, leave: () => running && stop() };
}

function settingsOf() {
  return Object.fromEntries(["network", "threads", "relaxed", "seconds"].map((name) => [name, settings.get(name)]));
}

/** Of the bars: the longest time so far. */
function longest(done, ms = 0) {
  return Math.max(ms ?? 0, ...done.map((row) => row.ms));
}

class Row {
  constructor(variant) {
    this.bar = h("i");
    const cell = (name) => h("td", { role: "cell", class: "number", "data-name": name }, "–");
    [this.median, this.speed, this.size, this.off] = ["", "Speed-up", "Weights", "Difference"].map(cell);
    this.size.textContent = bytes(weightsBytes(variant));
    this.place = h(
      "tr",
      {
        role: "row",
        "data-variant": variant.id,
        "data-state": "waiting",
        class: variant.sparsity ? "sparse" : "dense",
      },
      h("th", { scope: "row", role: "rowheader" }, variantName(variant)),
      h("td", { role: "cell", class: "bar-cell" }, h("span", { class: "bar", "aria-hidden": "true" }, this.bar)),
      this.median,
      this.speed,
      this.size,
      this.off,
    );
  }

  /** What happens just now. */
  step({ what, share, ms }, dense, most) {
    if (ms === undefined) {
      setText(this.median, `${PHASES[what]} ${Math.round(100 * share)}%`);
      return;
    }
    setText(this.median, milliseconds(ms));
    setText(this.speed, times((dense ?? ms) / ms));
    this.bar.style.transform = `scaleX(${ms / most})`;
  }

  /** What was measured. */
  show(row, dense, most) {
    this.step({ ms: row.ms }, dense.ms, most);
    setText(this.off, scientific(row.difference.relative));
    this.off.title = "the largest difference to onnxruntime on the same pruned network, relative to its largest output";
  }
}
