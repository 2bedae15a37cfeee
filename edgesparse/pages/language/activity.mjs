// The share of inputs that count in each linear layer, as a table of bars: a row for each block.

import { h, setText } from "./dom.mjs";

const SITES = ["q", "k", "v", "o", "gate", "up", "down"];

export class Activity {
  #cells; // in the order of manifest.decoder.sites

  constructor(name, { blocks, sites, method }) {
    const columns = SITES.filter((site) => sites.some((one) => one.site === site));
    this.#cells = sites.map(() => ({ number: h("span", {}, "–"), bar: h("i") }));
    const cell = (block, site) => {
      const { number, bar } = this.#cells[sites.findIndex((one) => one.block === block && one.site === site)];
      return h("td", {}, number, h("span", { class: "bar", "aria-hidden": "true" }, bar));
    };
    const rows = Array.from({ length: blocks }, (_, block) =>
      h("tr", {}, h("th", { scope: "row" }, String(block)), ...columns.map((site) => cell(block, site))),
    );
    this.place = h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": `What counts in each layer of ${name}` },
      h(
        "table",
        { class: `activity ${method ? "sparse" : ""}` },
        h("caption", {}, "Inputs that count, in % of each layer"),
        h("thead", {}, h("tr", {}, ...["Block", ...columns].map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", {}, ...rows),
      ),
    );
  }

  show(layers) {
    layers.forEach(({ active }, i) => {
      setText(this.#cells[i].number, (100 * active).toFixed(0));
      this.#cells[i].bar.style.transform = `scaleX(${active})`;
    });
  }
}
