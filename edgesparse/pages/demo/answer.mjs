// The answer of one network: its best classes as bars, and what it took.

import { h, setText } from "./dom.mjs";
import { percent } from "./format.mjs";

/** Values that are probabilities already, or their softmax. */
export function probabilities(values) {
  const sum = values.reduce((all, value) => all + value, 0);
  if (Math.abs(sum - 1) < 1e-2 && values.every((value) => value >= 0)) return [...values];
  const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const raised = Array.from(values, (value) => Math.exp(value - most));
  const all = raised.reduce((a, b) => a + b, 0);
  return raised.map((value) => value / all);
}

/** [[class, probability], ..], the best `count`. */
export function best(values, count) {
  const shares = probabilities(values);
  return shares
    .map((share, i) => [i, share])
    .sort((a, b) => b[1] - a[1])
    .slice(0, count);
}

export class Answer {
  #rows;
  #facts = {};

  /** `kind`: dense or sparse; `about` says more than the title; `facts`: names of what is shown beneath the bars. */
  constructor(kind, title, about, count, facts, big = false) {
    this.big = big ? h("output", { class: "big", "aria-label": `Answer of the ${kind} network` }, "–") : null;
    this.#rows = Array.from({ length: count }, () => {
      const row = { name: h("span", { class: "name" }, "–"), bar: h("i"), share: h("span", { class: "share" }, "") };
      row.place = h("li", {}, row.name, h("span", { class: "bar", "aria-hidden": "true" }, row.bar), row.share);
      return row;
    });
    for (const name of facts) this.#facts[name] = h("dd", {}, "–");
    this.about = h("p", { class: "faint" }, about);
    this.place = h(
      "article",
      { class: `card answer ${kind}` },
      h("div", { class: "answer-top" }, h("div", {}, h("h2", {}, title), this.about), this.big),
      h(
        "ol",
        { class: big ? "bars" : "bars long", "aria-label": `Best answers of the ${kind} network` },
        ...this.#rows.map((row) => row.place),
      ),
      h("dl", { class: "facts" }, ...facts.map((name) => h("div", {}, h("dt", {}, name), this.#facts[name]))),
    );
  }

  /** `ranked`: of `best`; null where there is nothing to answer to. */
  show(ranked, label) {
    this.#rows.forEach((row, i) => {
      const [index, share] = ranked?.[i] ?? [null, 0];
      setText(row.name, index === null ? "–" : label(index));
      row.name.title = row.name.textContent;
      setText(row.share, index === null ? "" : percent(share));
      row.bar.style.transform = `scaleX(${share})`;
    });
    if (this.big) setText(this.big, ranked ? label(ranked[0][0]) : "–");
  }

  fact(name, text) {
    setText(this.#facts[name], text);
  }
}
