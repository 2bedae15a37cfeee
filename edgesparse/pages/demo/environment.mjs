// What this browser is and can do, and why something is off.

import { h } from "./dom.mjs";
import { milliseconds } from "./format.mjs";
import { features } from "./runtime/model.mjs";

const MOST_THREADS = 8;
const CLOCK_MS = 50; // so long its step is looked at: in private windows it may be as long as that

/** Facts of this browser; whyNo.. are "" where it can. */
export function environment() {
  const { simd, relaxedSimd } = features();
  const isolated = globalThis.crossOriginIsolated === true;
  const cores = navigator.hardwareConcurrency || 1;
  return {
    browser: browserName(),
    agent: navigator.userAgent,
    cores,
    simd128: simd,
    relaxed_simd: relaxedSimd,
    cross_origin_isolated: isolated,
    most_threads: Math.min(cores, MOST_THREADS),
    clock_step_ms: clockStep(),
    whyNoThreads: !isolated
      ? whyNotIsolated()
      : typeof SharedArrayBuffer === "undefined"
        ? "Threads are off: this browser shares no memory among them."
        : cores < 2
          ? "Threads are off: this device has one core."
          : "",
    whyNoRelaxed: relaxedSimd
      ? ""
      : "Relaxed SIMD is off: this browser does not have it " + "(Chrome 114, Firefox 145 and their relatives do).",
    whyNoSimd: simd ? "" : "This browser has no WebAssembly SIMD: nothing here can run. Use one from 2021 or newer.",
  };
}

function whyNotIsolated() {
  const why = globalThis.isSecureContext
    ? "the page came without the headers COOP and COEP"
    : "the page was not loaded over https or from this machine";
  return `Threads are off: crossOriginIsolated is false, since ${why}.`;
}

function browserName() {
  const brands = navigator.userAgentData?.brands ?? [];
  const brand =
    brands.find((b) => !/not.?a.?brand|^chromium$/i.test(b.brand)) ?? brands.find((b) => b.brand === "Chromium");
  if (brand) return `${brand.brand} ${brand.version}`;
  const agent = navigator.userAgent;
  const found =
    /(Firefox)\/(\d+)/.exec(agent) ?? /(Chrome)\/(\d+)/.exec(agent) ?? /Version\/(\d+).*(Safari)/.exec(agent);
  return !found ? "unknown" : found[2] === "Safari" ? `Safari ${found[1]}` : `${found[1]} ${found[2]}`;
}

let step = 0;

/** The smallest step of the clock in milliseconds: browsers make it coarse. */
function clockStep() {
  if (step) return step;
  step = Infinity;
  let before = performance.now();
  const end = before + CLOCK_MS;
  for (let ticks = 0; ticks < 30 && before < end;) {
    const after = performance.now();
    if (after === before) continue;
    step = Math.min(step, after - before);
    before = after;
    ticks++;
  }
  return step;
}

/** Fill the panel. */
export function showEnvironment(place) {
  const found = environment();
  const yes = (works, text, why = "") =>
    h(
      "dd",
      {},
      h("span", { class: works ? "yes" : "no" }, works ? "on" : "off"),
      text ? ` ${text}` : "",
      why ? h("span", { class: "why" }, ` ${why}`) : null,
    );
  const rows = [
    ["Browser", h("dd", {}, found.browser)],
    ["CPU cores", h("dd", {}, String(found.cores))],
    ["SIMD128", yes(found.simd128, "", found.whyNoSimd)],
    ["Relaxed SIMD", yes(found.relaxed_simd, "", found.whyNoRelaxed)],
    ["Isolated", yes(found.cross_origin_isolated, "")],
    ["Threads", yes(!found.whyNoThreads, found.whyNoThreads ? "" : `up to ${found.most_threads}`, found.whyNoThreads)],
    ["Clock step", h("dd", {}, milliseconds(found.clock_step_ms))],
  ];
  place.replaceChildren(
    h("h2", { id: "environment-title" }, "This browser"),
    h("dl", { class: "facts wide" }, ...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), value))),
  );
}
