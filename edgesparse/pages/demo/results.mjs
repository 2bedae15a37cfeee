// What was measured, to take away: as Markdown, as JSON, as an address that measures the same again.

import { h, say } from "./dom.mjs";
import { environment } from "./environment.mjs";
import { bytes, milliseconds, scientific, times, variantName } from "./format.mjs";
import { address } from "./settings.mjs";

/** A document of everything. `found`: what `measure` gave for each variant; speed-ups are over the first. */
export function resultOf(description, net, found, more = {}) {
  const { whyNoThreads, whyNoRelaxed, whyNoSimd, ...facts } = environment();
  const why = [whyNoThreads, whyNoRelaxed, whyNoSimd].filter(Boolean);
  return {
    edgesparse: description.edgesparse,
    measured: new Date().toISOString(),
    url: address({ run: "1" }),
    environment: { ...facts, why },
    network: { id: net.id, title: net.title, about: net.about },
    dense_gzip_bytes: net.dense_gzip_bytes,
    ...more,
    variants: found.map((row) => ({ ...row, speed_up: found[0].ms / row.ms })),
  };
}

export function markdown(result) {
  const { environment: facts, network, variants } = result;
  const lines = [
    `### ${network.title}: dense beside sparse in ${facts.browser}`,
    "",
    "| network | time | speed-up | download | largest difference | how |",
    "|---|---:|---:|---:|---:|---|",
    ...variants.map(
      (row) =>
        `| ${variantName(row)} | ${milliseconds(row.ms)} | ${times(row.speed_up)} ` +
        `| ${bytes(row.download_bytes)} | ${scientific(row.difference.relative)} | ${row.backend} |`,
    ),
    "",
    `Median of ${Math.min(...variants.map((row) => row.runs))} runs or more; ${facts.cores} cores; gzip of the dense ` +
      `weights: ${bytes(result.dense_gzip_bytes)}; differences relative to the largest output of onnxruntime; ` +
      `edgesparse ${result.edgesparse}.`,
    ...facts.why.map((why) => `${why}`),
    "",
    `Measure it again: <${result.url}>`,
    "",
  ];
  return lines.join("\n");
}

/** Buttons to take the result with one. `current()`: the document, or null before there is one. */
export function takeAway(current, name) {
  const note = h("span", { class: "note" });
  const copy = async (text, what) => {
    try {
      await navigator.clipboard.writeText(text);
      note.textContent = `${what} copied`;
      say(note.textContent);
    } catch {
      // no permission, or no secure context
      note.replaceChildren(`${what}: `, h("textarea", { readonly: true, rows: 6, "aria-label": what }, text));
      note.querySelector("textarea").select();
      say(`${what} may not be copied by this page: it is selected in a field`);
    }
  };
  const download = () => {
    const url = URL.createObjectURL(new Blob([JSON.stringify(current(), null, 2)], { type: "application/json" }));
    h("a", { href: url, download: `${name}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  const buttons = [
    h(
      "button",
      { type: "button", class: "quiet", onclick: () => copy(markdown(current()), "Markdown") },
      "Copy as Markdown",
    ),
    h("button", { type: "button", class: "quiet", onclick: download }, "Download JSON"),
  ];
  const link = h(
    "button",
    { type: "button", class: "quiet", onclick: () => copy(address({ run: "1" }), "Link") },
    "Copy link",
  );
  const place = h("div", { class: "take" }, ...buttons, link, note);
  const enable = () =>
    buttons.forEach((button) => {
      button.disabled = current() === null;
    });
  enable();
  return { place, enable };
}
