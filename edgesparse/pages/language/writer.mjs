// One model on the page: what it writes, and what that costs.

import { Activity } from "./activity.mjs";
import { h, setText } from "./dom.mjs";
import { bytes, milliseconds } from "./format.mjs";
import { load } from "./runtime/language.mjs";

const EACH_MS = 100; // so often figures change, which nobody could read sooner
const PHASES = { download: "Downloading", compile: "Compiling", start: "Starting" };
const ENDED = {
  length: "as many tokens as asked for",
  stop: "a token that ends texts",
  context: "the context is full",
  aborted: "stopped",
};
const FACTS = ["Speed", "Prompt", "Weights read for a token", "Tokens", "Ended by", "Runs on"];

export class Writer {
  #described;
  #model;
  #text = h("span");
  #given = h("span", { class: "given" });
  #bar = h("progress", { max: 1, value: 0, hidden: true });
  #facts = Object.fromEntries(FACTS.map((name) => [name, h("dd", {}, "–")]));
  #activity = null;
  #pending = ""; // text that is not on the page yet
  #shown = 0; // when figures were shown last

  /** `described`: of demo.json, {folder, name, about, sparse}. */
  constructor(described) {
    this.#described = described;
    this.#bar.setAttribute("aria-label", `Loading of ${described.name}`);
    this.text = h(
      "pre",
      { class: "text", tabindex: 0, role: "region", "aria-label": `Text of ${described.name}` },
      this.#given,
      this.#text,
    );
    this.place = h(
      "article",
      { class: `card answer ${described.sparse ? "sparse" : "dense"}` },
      h("h2", {}, described.name),
      h("p", { class: "faint" }, described.about),
      this.#bar,
      this.text,
      h("dl", { class: "facts" }, ...FACTS.map((name) => h("div", {}, h("dt", {}, name), this.#facts[name]))),
    );
  }

  get name() {
    return this.#described.name;
  }

  /** Write what comes after `prompt`; the figures at its end. Throws what load() and generate() do. */
  async write(prompt, options) {
    setText(this.#given, prompt);
    setText(this.#text, "");
    for (const name of FACTS.slice(0, -1)) this.#fact(name, "–");
    const model = await this.#loaded(options.signal);
    const texts = model.generate(prompt, { ...options, onStats: (stats) => this.#told(stats) });
    for await (const piece of texts) this.#add(piece);
    this.#draw();
    this.#show(model.stats);
    this.#fact("Ended by", ENDED[model.stats.finish]);
    return model.stats;
  }

  async #loaded(signal) {
    if (this.#model) return this.#model;
    this.#bar.hidden = false;
    try {
      const cache = !navigator.serviceWorker?.controller; // which keeps files itself
      this.#model = await load(new URL(this.#described.folder, import.meta.url), {
        cache,
        signal,
        onProgress: ({ phase, loaded, total }) => {
          this.#bar.value = total ? loaded / total : 0;
          this.#fact("Runs on", `${PHASES[phase]}…${phase === "download" ? ` ${bytes(loaded)} of ${bytes(total)}` : ""}`);
        },
      });
    } catch (error) {
      this.#fact("Runs on", "–");
      throw error;
    } finally {
      this.#bar.hidden = true;
    }
    this.#fact("Runs on", this.#model.backend);
    this.#activity = new Activity(this.name, this.#model.manifest.decoder);
    this.place.append(this.#activity.place);
    return this.#model;
  }

  /** Texts may come faster than pages are painted. */
  #add(piece) {
    if (!this.#pending) requestAnimationFrame(() => this.#draw());
    this.#pending += piece;
  }

  #draw() {
    const { scrollHeight, scrollTop, clientHeight } = this.text;
    const atEnd = scrollHeight - scrollTop - clientHeight < 30; // unless somebody reads further up
    this.#text.append(this.#pending);
    this.#pending = "";
    if (atEnd) this.text.scrollTop = this.text.scrollHeight;
  }

  #told(stats) {
    if (performance.now() - this.#shown < EACH_MS) return;
    this.#shown = performance.now();
    this.#show(stats);
  }

  #show({ promptTokens, promptMs, decoded, tokensPerSecond, bytesPerToken, layers }) {
    this.#fact("Prompt", `${promptTokens} token${promptTokens === 1 ? "" : "s"} in ${milliseconds(promptMs)}`);
    this.#fact("Tokens", String(decoded + 1));
    if (!decoded) return;
    this.#fact("Speed", `${tokensPerSecond.toFixed(tokensPerSecond < 100 ? 1 : 0)} tokens/s`);
    this.#fact("Weights read for a token", bytes(bytesPerToken));
    this.#activity.show(layers);
  }

  #fact(name, text) {
    setText(this.#facts[name], text);
  }
}
