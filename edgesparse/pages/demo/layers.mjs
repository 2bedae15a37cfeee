// The layers of two variants beside each other.

import { h, select } from "./dom.mjs";
import { milliseconds, percent, times, variantName } from "./format.mjs";
import * as settings from "./settings.mjs";

/** A card with the table; `found` is what `measure` gave. */
export function layersCard(found) {
  const chosen = (name, otherwise) => found.find((row) => row.id === settings.get(name)) ?? otherwise;
  const place = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Time of each layer" });
  const show = () => place.replaceChildren(table(chosen("left", found[0]), chosen("right", fastest(found))));
  const list = (label, name, otherwise) =>
    select(
      label,
      found.map((row) => [row.id, variantName(row)]),
      chosen(name, otherwise).id,
      (id) => {
        settings.set({ [name]: id });
        show();
      },
    );
  show();
  return h(
    "div",
    { class: "card" },
    h("h2", {}, "Layer by layer"),
    h("p", { class: "faint" }, "Each kernel call timed by itself, so the sum is a little more than a whole run."),
    h("div", { class: "controls" }, list("Compare", "left", found[0]), list("with", "right", fastest(found))),
    place,
  );
}

function fastest(found) {
  return found.reduce((best, row) => (row.ms < best.ms ? row : best));
}

function table(left, right) {
  const others = new Map(right.layers.map((layer) => [layer.name, layer]));
  const most = Math.max(...left.layers.map((layer) => layer.ms), ...right.layers.map((layer) => layer.ms));
  const number = (...children) => h("td", { class: "number" }, ...children);
  const rows = left.layers
    .filter((layer) => others.has(layer.name))
    .map((layer) => {
      const other = others.get(layer.name);
      return h(
        "tr",
        {},
        h("th", { scope: "row" }, layer.name),
        h("td", { class: "wide" }, [...new Set(layer.ops)].join(", ")),
        h("td", { class: "wide" }, layer.shape.join("×")),
        number(other.zeros ? percent(other.zeros) : ""),
        h("td", { class: "wide" }, bars(layer.ms / most, other.ms / most)),
        number(milliseconds(layer.ms)),
        number(milliseconds(other.ms)),
        number(times(layer.ms / other.ms)),
      );
    });
  const sum = (row) => row.layers.reduce((all, layer) => all + layer.ms, 0);
  return h(
    "table",
    { class: "layers" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ...["Layer", "Operator", "Output", "Zeros", "Time", variantName(left), variantName(right), "Speed-up"].map(
          (text, i) => h("th", { scope: "col", class: [1, 2, 4].includes(i) ? "wide" : i ? "number" : null }, text),
        ),
      ),
    ),
    h("tbody", {}, ...rows),
    h(
      "tfoot",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "row" }, "Sum"),
        ...["wide", "wide", "", "wide"].map((name) => h("td", { class: name })),
        number(milliseconds(sum(left))),
        number(milliseconds(sum(right))),
        number(times(sum(left) / sum(right))),
      ),
    ),
  );
}

/** Two thin bars, one beneath the other; the numbers beside them say the same. */
function bars(first, second) {
  const place = h(
    "div",
    { class: "pair", "aria-hidden": "true" },
    h("i", { class: "dense" }),
    h("i", { class: "sparse" }),
  );
  [first, second].forEach((share, i) => {
    place.children[i].style.width = `${Math.max(1, 100 * share)}%`;
  });
  return place;
}
