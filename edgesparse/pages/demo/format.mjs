// Numbers as people read them. Three digits are as many as a measurement on a shared machine is worth.

export function milliseconds(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  if (ms < 1) return `${digits(1000 * ms)} µs`;
  return ms < 1000 ? `${digits(ms)} ms` : `${digits(ms / 1000)} s`;
}

/** 1 kB = 1000 bytes. */
export function bytes(count) {
  if (count < 1000) return `${count} B`;
  return count < 1e6 ? `${digits(count / 1000)} kB` : `${digits(count / 1e6)} MB`;
}

export function times(ratio) {
  return Number.isFinite(ratio) ? `${ratio < 10 ? ratio.toFixed(2) : ratio.toFixed(1)}×` : "–";
}

export function percent(share) {
  return `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)}%`;
}

export function scientific(value) {
  return value === 0 ? "0" : value.toExponential(1);
}

const DRIFT = 0.1; // above which it is said

/** Of the first network, timed again at the end: `drift` is how much longer that took, over the first time. */
export function driftText(drift, name) {
  if (Math.abs(drift) <= DRIFT) return "";
  const how = `${percent(Math.abs(drift))} ${drift > 0 ? "longer" : "less"}`;
  return (
    `At the end ${name} took ${how} than at the beginning: the device was busy or warm. Its better time counts; ` +
    "measure again for times to trust."
  );
}

function digits(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** "dense", "90% block:4x1" */
export function variantName({ sparsity, pattern }) {
  return sparsity ? `${Number((100 * sparsity).toFixed(1))}% ${pattern}` : "dense";
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b),
    half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** The middle half of the values: [from, to]. */
export function quartiles(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return [0.25, 0.75].map((share) => sorted[Math.round(share * (sorted.length - 1))]);
}
