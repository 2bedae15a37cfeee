// edgesparse-kernel: op=softmax dtype=f32 isa=any
#include "math_f32.h"

#define EXP ES_CAT(es_exp, ES_VL, )

// Rows of neighbours: vectors run along the row.
static void softmax_row(const float *in, float *out, int64_t n, int64_t log) {
  const int64_t whole = n / ES_VL * ES_VL;
  vf tops = splat_vf(-__builtin_inff()), sums = splat_vf(0);
  float top = in[0], sum = 0;
  for (int64_t i = 0; i < whole; i += ES_VL) {
    const vf x = load_vf(in + i);
    const vi larger = x > tops;
    tops = (vf)((larger & (vi)x) | (~larger & (vi)tops));
  }
  for (int i = 0; i < ES_VL; i++) top = tops[i] > top ? tops[i] : top;
  for (int64_t i = whole; i < n; i++) top = in[i] > top ? in[i] : top;
  for (int64_t i = 0; i < whole; i += ES_VL) {
    const vf x = load_vf(in + i) - top, e = EXP(x);
    sums += e;
    store_vf(out + i, log ? x : e);
  }
  if (whole < n) {  // lanes beyond the row: exp(-inf) = 0
    const vf x = load_some(in + whole, n - whole, -__builtin_inff()) - top, e = EXP(x);
    for (int64_t i = 0; i < n - whole; i++) sum += e[i];
    store_some(out + whole, n - whole, log ? x : e);
  }
  for (int i = 0; i < ES_VL; i++) sum += sums[i];
  const float by = log ? es_log1((vf1){sum})[0] : 1 / sum;
  for (int64_t i = 0; i < whole; i += ES_VL) store_vf(out + i, log ? load_vf(out + i) - by : load_vf(out + i) * by);
  for (int64_t i = whole; i < n; i++) out[i] = log ? out[i] - by : out[i] * by;
}

// `count` columns side by side, ES_VL at most: vectors run across the columns.
static void softmax_columns(const float *in, float *out, int64_t n, int64_t inner, int64_t count, int64_t log) {
  vf top = load_some(in, count, 0), sum = splat_vf(0);
  for (int64_t i = 1; i < n; i++) {
    const vf x = load_some(in + i * inner, count, 0);
    const vi larger = x > top;
    top = (vf)((larger & (vi)x) | (~larger & (vi)top));
  }
  for (int64_t i = 0; i < n; i++) {
    const vf x = load_some(in + i * inner, count, 0) - top, e = EXP(x);
    sum += e;
    store_some(out + i * inner, count, log ? x : e);
  }
  const vf by = log ? ES_CAT(es_log, ES_VL, )(sum) : 1.0f / sum;
  for (int64_t i = 0; i < n; i++) {
    const vf x = load_some(out + i * inner, count, 0);
    store_some(out + i * inner, count, log ? x - by : x * by);
  }
}

// y[o, i, k] = exp(x[o, i, k] - max_i x[o, i, k]) / sum_i exp(...), or its logarithm when log != 0.
// x, y: (outer, n, inner) row-major; y may be x. Strips begin..end-1 of 16 columns are computed, outer * ceil(inner / 16)
// in all.
void ES_KERNEL(softmax_f32)(const float *x, float *y, int64_t begin, int64_t end, int64_t n, int64_t inner, int64_t log) {
  const int64_t strips = (inner + 15) / 16;
  for (int64_t s = begin; s < end; s++) {
    const int64_t first = s % strips * 16, last = first + 16 < inner ? first + 16 : inner, at = s / strips * n * inner;
    if (inner == 1) {
      softmax_row(x + at, y + at, n, log);
      continue;
    }
    for (int64_t k = first; k < last; k += ES_VL)
      softmax_columns(x + at + k, y + at + k, n, inner, last - k < ES_VL ? last - k : ES_VL, log);
  }
}
