"use strict";
// Everything that comes from the model is set as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const details = document.getElementById("details");
const nodes = [...document.querySelectorAll(".node")];
const HEAT_PIXELS = 420;

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function colour(mode) {
  for (const node of nodes) {
    const [fill, ink] = data.layers[node.dataset.layer].colours[mode];
    node.querySelector("rect").setAttribute("fill", fill);
    for (const text of node.querySelectorAll("text")) text.setAttribute("fill", ink);
  }
  for (const button of document.querySelectorAll("#modes button"))
    button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  for (const legend of document.querySelectorAll(".legend")) legend.hidden = legend.dataset.mode !== mode;
}

function picture(title, source, heat) {
  const figure = element("figure");
  figure.append(element("figcaption", title));
  const image = element("img", undefined, "heat");
  const [rows, columns] = heat.cells;
  const scale = Math.min(HEAT_PIXELS / Math.max(rows, columns), 24);
  image.width = Math.max(Math.round(columns * scale), 6);
  image.height = Math.max(Math.round(rows * scale), 6);
  image.alt = title;
  image.src = source;
  figure.append(image);
  return figure;
}

function show(index) {
  const layer = data.layers[index];
  for (const node of nodes) node.classList.toggle("chosen", node.dataset.layer === String(index));
  details.replaceChildren(element("h2", layer.name));
  const list = element("dl");
  for (const [key, value] of layer.facts) list.append(element("dt", key), element("dd", value));
  details.append(list);
  const heat = layer.heat;
  if (heat) {
    details.append(
      picture(heat.magnitude_title, heat.magnitude, heat), picture(heat.zeros_title, heat.zeros, heat));
  } else if (layer.no_heat) details.append(element("p", layer.no_heat));
  if (layer.others.length) {
    const rest = element("dl");
    rest.append(element("dt", "not taken"), element("dd", layer.others));
    details.append(rest);
  }
  details.scrollTop = 0;
}

function overview() {
  details.replaceChildren(element("h2", data.slowest.length ? "Where the time goes" : "Layers"));
  const table = element("table"), head = element("tr");
  head.append(element("th", "layer"), element("th", "µs", "number"), element("th", "share", "number"));
  table.append(head);
  for (const row of data.slowest) {
    const line = element("tr", undefined, "pick");
    line.append(element("td", row.name, "name"), element("td", row.us, "number"), element("td", row.share, "number"));
    line.addEventListener("click", () => show(row.layer));
    table.append(line);
  }
  if (data.slowest.length) details.append(table);
  details.append(element("p", "Click a node for its kernel, the reason for it, and a picture of its weights."));
  for (const note of data.notes) details.append(element("p", note));
}

for (const node of nodes) {
  node.addEventListener("click", () => show(node.dataset.layer));
  node.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); show(node.dataset.layer); }
  });
}
for (const button of document.querySelectorAll("#modes button"))
  button.addEventListener("click", () => colour(button.dataset.mode));
const svg = document.querySelector("#graph svg");
let zoom = 1;
function resize(factor) {
  zoom = Math.min(Math.max(zoom * factor, 0.2), 3);
  svg.setAttribute("width", svg.viewBox.baseVal.width * zoom);
  svg.setAttribute("height", svg.viewBox.baseVal.height * zoom);
}
document.getElementById("smaller").addEventListener("click", () => resize(0.8));
document.getElementById("larger").addEventListener("click", () => resize(1.25));
resize(Math.max(0.7, Math.min(1, (svg.parentElement.clientWidth - 36) / svg.viewBox.baseVal.width)));
colour("time");
overview();
