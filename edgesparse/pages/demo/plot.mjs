// Latency over sparsity, with what it would be if every zero saved its share of the time.

import { s } from "./dom.mjs";
import { milliseconds, percent, variantName } from "./format.mjs";

const WIDTHS = [640, 370],
  NARROW = 620,
  HEIGHT = 300,
  LEFT = 62,
  RIGHT = 18,
  TOP = 18,
  BOTTOM = 46;

/** `found`: what `measure` gave, the dense one first. -> an SVG element, for phones a narrow one. */
export function plot(found) {
  const width = WIDTHS[innerWidth < NARROW ? 1 : 0];
  const dense = found[0];
  const lines = new Map();
  for (const row of found.slice(1)) lines.set(row.pattern, [...(lines.get(row.pattern) ?? [dense]), row]);
  const most = niceTop(Math.max(...found.map((row) => row.ms)));
  const x = (sparsity) => LEFT + sparsity * (width - LEFT - RIGHT);
  const y = (ms) => HEIGHT - BOTTOM - (ms / most) * (HEIGHT - TOP - BOTTOM);
  const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("");
  const image = s("svg", {
    viewBox: `0 0 ${width} ${HEIGHT}`,
    class: "plot",
    role: "img",
    "aria-label": `Latency over sparsity. ${found.map((r) => `${variantName(r)}: ${milliseconds(r.ms)}`).join("; ")}`,
  });
  for (let i = 0; i <= 4; i++) {
    const at = y((most * i) / 4);
    image.append(
      s("line", { x1: LEFT, x2: width - RIGHT, y1: at, y2: at, class: i ? "grid" : "axis" }),
      s(
        "text",
        { x: LEFT - 10, y: at + 4, class: "tick end" },
        milliseconds((most * i) / 4).replace(/^0\.00 µs$/, "0"),
      ),
    );
  }
  for (const sparsity of [0, 0.25, 0.5, 0.75, 1]) {
    image.append(
      s("text", { x: x(sparsity), y: HEIGHT - BOTTOM + 22, class: "tick middle" }, percent(sparsity).replace(".0", "")),
    );
  }
  image.append(
    s("text", { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 4, class: "tick middle" }, "weights that are zero"),
  );
  const ideal = idealLine(found);
  image.append(s("path", { d: path(ideal.map(([a, b]) => [x(a), y(b)])), class: "ideal" }));
  [...lines].forEach(([, rows], number) => {
    image.append(
      s("path", { d: path(rows.map((r) => [x(r.sparsity), y(r.ms)])), class: `line line${number}` }),
      ...rows.slice(1).map((r) => mark(x(r.sparsity), y(r.ms), number, r)),
    );
  });
  image.append(mark(x(0), y(dense.ms), "dense", dense));
  return image;
}

/** In the order of their colours. */
export function patternsOf(found) {
  return [...new Set(found.slice(1).map((row) => row.pattern))];
}

/** [[sparsity, ms], ..]: the dense time, scaled by the multiplications that are left. */
export function idealLine(found) {
  const [dense] = found;
  const best = found.filter((row) => row === dense || row.pattern === found[1].pattern);
  return best.map((row) => [row.sparsity, (dense.ms * row.macs) / dense.macs]);
}

function mark(x, y, number, row) {
  const title = s("title", {}, `${variantName(row)}: ${milliseconds(row.ms)}`);
  if (number === 1) return s("rect", { x: x - 5, y: y - 5, width: 10, height: 10, class: "mark mark1" }, title);
  return s("circle", { cx: x, cy: y, r: 6, class: `mark mark${number}` }, title);
}

/** The next of 1, 1.5, 2, 3, 4, 6, 8 times a power of ten. */
function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 1.5, 2, 3, 4, 6, 8, 10].find((step) => step * power >= value * 1.02 || step === 10);
}
