// Weights of 8 bits by output. Processors fetch ahead what lies in line. Rows of which others are skipped do not, and
// are read SIDE at a time: in node on a Zen 4, every second row of 2048 bytes at 10 GB/s, 8 by fours, 4 one by one. All
// rows do: one by one, 16 GB/s, and by fours 8.
#ifndef ES_ROWS_WASM_QC8_H
#define ES_ROWS_WASM_QC8_H
#include "dot_qc8.h"

enum { SIDE = 8 };

// f[r] += the products of 32 inputs, in 4 sums.
ES_INLINE void add_group(
    vf4 *f, const uint8_t *const *w, int64_t at, const int8_t *q, int32_t sum, float scale, way how,
    const int words, const uint32_t side) {
  const v128_t x[2] = {wasm_v128_load(q), wasm_v128_load(q + 16)};
  const v128_t even[2] = {even1(x[0]), even1(x[1])}, odd[2] = {odd1(x[0]), odd1(x[1])};
#ifdef __wasm_relaxed_simd__
  const v128_t flip = flip_of(how);
  const vi4 start = (vi4)wasm_i32x4_make(how == UNSIGNED ? -128 * sum : 0, 0, 0, 0);
#else
  (void)how, (void)sum;
#endif
  const float by = words ? scale * (1.0f / 256) : scale;
#pragma unroll
  for (uint32_t r = 0; r < side; r++) {
    vi4 d = {0};
#pragma unroll
    for (uint32_t h = 0; h < 2; h++) {
      const v128_t both = wasm_v128_load(w[r] + at + 16 * h);
      if (words) d = add_pairs(add_pairs(d, even256(both), even[h]), odd256(both), odd[h]);
#ifdef __wasm_relaxed_simd__
      else d = add_quads(h ? d : start, both, x[h], flip);
#endif
    }
    f[r] += __builtin_convertvector(d, vf4) * by;
    ES_STAY(f[r]);
  }
}

// y[r] = sum_g scale[g] sum_i w[r][i] q[i] for `side` rows, 1 or SIDE; n: a multiple of 32.
ES_INLINE void some_rows(
    const uint8_t *const *w, const int8_t *q, const float *scale, const int32_t *sum, int64_t n, float *y, way how,
    const int words, const uint32_t side) {
  vf4 f[SIDE];
#pragma unroll
  for (uint32_t r = 0; r < side; r++) f[r] = (vf4){0};
#pragma unroll 1
  for (int64_t i = 0; i < n; i += ENTRIES)
    add_group(f, w, i, q + i, sum[i / ENTRIES], scale[i / ENTRIES], how, words, side);
#pragma unroll
  for (uint32_t r = 0; r < side; r++) y[r] = es_sum4(f[r]);
}
#endif
