// Every build of every bundle beside onnxruntime, on the stored inputs.

import { h, say, setText, trouble } from "./dom.mjs";
import { environment } from "./environment.mjs";
import { scientific, variantName } from "./format.mjs";
import { difference, expectedOutputs, open, storedInputs } from "./networks.mjs";
import * as settings from "./settings.mjs";

const TOLERANCE = 1e-4; // of the largest output, as `edgesparse compare` has it
const BUILDS = [
  { name: "SIMD128", relaxed: false, threads: 1 },
  { name: "SIMD128, threads", relaxed: false, threads: 2 },
  { name: "Relaxed SIMD", relaxed: true, threads: 1 },
  { name: "Relaxed SIMD, threads", relaxed: true, threads: 2 },
];

export function verify(panel, description) {
  const env = environment();
  const start = h("button", { type: "button", class: "primary", onclick: () => go() }, "Verify every build");
  const state = h("p", { class: "state", role: "status" });
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Builds that were verified", hidden: true });
  const tables = h("div");
  panel.replaceChildren(
    h(
      "div",
      { class: "card" },
      h("h2", {}, "The same answers as onnxruntime?"),
      h(
        "p",
        { class: "faint" },
        "Each network was run by onnxruntime when this page was built, on inputs that are stored " +
          "beside it. Here, all four builds of each bundle run on the same inputs. A cell shows the largest error " +
          `relative to the largest output, of which ${TOLERANCE} pass since sums are in another order; and below it ` +
          "the error itself.",
      ),
      h("div", { class: "row" }, start, state),
      bar,
      tables,
    ),
  );

  /** Empty tables, and what is to be done for each cell of them. */
  function prepare() {
    const jobs = [];
    tables.replaceChildren(
      ...description.networks.map((net) => {
        const rows = net.variants.map((variant) => {
          const cells = BUILDS.map((build) => h("td", { "data-result": "waiting", "data-build": build.name }, "–"));
          jobs.push(...cells.map((cell, i) => ({ net, variant, build: BUILDS[i], cell })));
          return h("tr", {}, h("th", { scope: "row" }, variantName(variant)), ...cells);
        });
        const heads = ["Network", ...BUILDS.map((build) => build.name)].map((name) => h("th", { scope: "col" }, name));
        return h(
          "table",
          { class: "verify" },
          h("caption", {}, `${net.title}, ${net.samples} ${net.samples > 1 ? "inputs" : "input"}`),
          h("thead", {}, h("tr", {}, ...heads)),
          h("tbody", {}, ...rows),
        );
      }),
    );
    return jobs;
  }

  async function go() {
    start.disabled = true;
    bar.hidden = false;
    trouble("");
    const jobs = prepare(),
      counts = { passed: 0, failed: 0, skipped: 0 };
    for (const [number, { cell, ...job }] of jobs.entries()) {
      setText(state, `${number + 1} of ${jobs.length}`);
      const found = await tried(job);
      cell.dataset.result = found.result;
      counts[found.result]++;
      cell.replaceChildren(
        ...(found.off
          ? [
              h("span", { class: found.result === "passed" ? "yes" : "no" }, scientific(found.off.relative)),
              h("small", {}, scientific(found.off.absolute)),
            ]
          : [
              h(
                "span",
                { class: found.result === "failed" ? "no" : "why" },
                found.result === "failed" ? "failed" : "not here",
              ),
            ]),
      );
      if (found.why) {
        cell.title = found.why;
        if (found.result === "failed") trouble(found.why);
      }
      bar.value = (number + 1) / jobs.length;
    }
    const reasons = counts.skipped ? [env.whyNoThreads, env.whyNoRelaxed].filter(Boolean).join(" ") : "";
    const text =
      `${counts.passed} of ${jobs.length} builds passed${counts.failed ? `, ${counts.failed} failed` : ""}` +
      `${counts.skipped ? `, ${counts.skipped} cannot run here. ${reasons}` : ""}`;
    setText(state, text);
    say(text);
    start.disabled = false;
  }

  /** {result, off, why} of one build on all stored inputs. */
  async function tried({ net, variant, build }) {
    const why = (build.threads > 1 && env.whyNoThreads) || (build.relaxed && env.whyNoRelaxed);
    if (why) return { result: "skipped", why };
    try {
      const model = await open(net, variant, { threads: build.threads, relaxed: build.relaxed, strict: true });
      try {
        const [inputs, expected] = await Promise.all([storedInputs(net, model), expectedOutputs(net, variant, model)]);
        const off = { absolute: 0, relative: 0 };
        for (const [i, sample] of inputs.entries()) {
          const one = difference(expected[i], await model.run(sample));
          off.absolute = Math.max(off.absolute, one.absolute);
          off.relative = Math.max(off.relative, one.relative);
        }
        const ran = model.threads === build.threads && (model.isa === "relaxed") === build.relaxed;
        if (!ran) return { result: "failed", why: `${build.name} was asked for, but ${model.backend} ran` };
        return { result: off.relative <= TOLERANCE ? "passed" : "failed", off };
      } finally {
        await model.close();
      }
    } catch (error) {
      return { result: "failed", why: `${net.title}, ${variantName(variant)}, ${build.name}: ${error.message}` };
    }
  }

  prepare();
  if (settings.get("run") && settings.get("tab") === "verify") go();
}
