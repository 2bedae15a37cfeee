// edgesparse-kernel: op=dense dtype=qb4 isa=simd128,relaxed
#include "dot_qb4.h"

#ifdef __wasm_relaxed_simd__
static const float UNIT = 1;
// d[v] = sum_i (w[o, i] - 8) * q[i] of 32 inputs, outputs o = 4v..4v+3
ES_INLINE void dot_group(vi4 *d, const uint8_t *w, const int8_t *q, int32_t sum, int halves) {
  v128_t s[4];
  const v128_t less = wasm_i32x4_splat(8 * sum), start = halves ? wasm_i32x4_splat(0) : wasm_i32x4_neg(less);
#pragma unroll
  for (uint32_t v = 0; v < 4; v++) s[v] = start;
#pragma unroll 1
  for (const uint8_t *end = w + GROUP_BYTES; w != end; w += 64, q += 4) {
    ES_STAY(w);
    ES_STAY(q);
    const v128_t low = load_quad(q), high = load_quad(q + 16);
#pragma unroll
    for (uint32_t v = 0; v < 4; v++) {
      const v128_t both = wasm_v128_load(w + 16 * v);
      s[v] = sum_quads(sum_quads(s[v], low, lower(both), halves), high, upper(both), halves);
      ES_STAY(s[v]);
    }
  }
#pragma unroll
  for (uint32_t v = 0; v < 4; v++) d[v] = halves ? sums(s[v], halves) - (vi4)less : (vi4)s[v];
}
#else
static const float UNIT = 1.0f / 256;
// the same, 256 times as large: below 2^24
ES_INLINE void dot_group(vi4 *d, const uint8_t *w, const int8_t *q, int32_t sum, int halves) {
  (void)halves;
  int32_t pairs[16];  // four for each k
  const v128_t low = wasm_v128_load(q), high = wasm_v128_load(q + 16);
  wasm_v128_store(pairs, even256(low));
  wasm_v128_store(pairs + 4, odd1(low));
  wasm_v128_store(pairs + 8, even16(high));
  wasm_v128_store(pairs + 12, odd256(high));
  ES_IN_ORDER();
  v128_t s[4];
#pragma unroll
  for (uint32_t v = 0; v < 4; v++) s[v] = wasm_i32x4_splat(-8 * 256 * sum);
  const es_quad *at = (const es_quad *)pairs;
#pragma unroll 1
  for (const uint8_t *end = w + GROUP_BYTES; w != end; w += 64, at += 4) {
    ES_STAY(w);
    ES_STAY(at);
    const v128_t a = load_quad(at), b = load_quad(at + 16), c = load_quad(at + 32), e = load_quad(at + 48);
#pragma unroll
    for (uint32_t v = 0; v < 4; v++) {
      s[v] = sum_pairs(s[v], wasm_v128_load(w + 16 * v), a, b, c, e);
      ES_STAY(s[v]);
    }
  }
#pragma unroll
  for (uint32_t v = 0; v < 4; v++) d[v] = (vi4)s[v];
}
#endif

ES_INLINE void panels(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int8_t *q, const float *scale,
    const int32_t *sum, float *y, int32_t groups, int64_t outputs, int64_t block, int64_t begin, int64_t end,
    int halves) {
  const int32_t wide = block == 64, blocks = wide ? (groups + 1) / 2 : groups;
  w += (size_t)begin * groups * GROUP_BYTES, wscale += (size_t)begin * blocks * 16;
  for (int64_t o = 16 * begin; o < 16 * end; o += 16, wscale += 16 * blocks) {
    vf4 f[4] = {};
    for (int32_t g = 0; g < groups; g++, w += GROUP_BYTES) {
      vi4 d[4];
      dot_group(d, w, q + 32 * g, sum[g], halves);
#pragma unroll
      for (uint32_t v = 0; v < 4; v++)
        f[v] += to_float(d[v]) * (scales4(wscale + 16 * (g >> wide) + 4 * v, UNIT) * scale[g]);
    }
    for (int v = 0; v < 4; v++) store_outputs(y + o + 4 * v, f[v], bias ? bias + o + 4 * v : 0, outputs - o - 4 * v);
  }
}

// As in kernels_common/dense_qb4.c.
void ES_KERNEL(dense_qb4)(
    const uint8_t *w, const uint16_t *wscale, const float *bias, const int8_t *q, const float *scale,
    const int32_t *sum, float *y, int64_t inputs, int64_t outputs, int64_t block, int64_t begin, int64_t end) {
  const int32_t groups = (int32_t)((inputs + 31) / 32);
  if (es_halves()) panels(w, wscale, bias, q, scale, sum, y, groups, outputs, block, begin, end, 1);
  else panels(w, wscale, bias, q, scale, sum, y, groups, outputs, block, begin, end, 0);
}
