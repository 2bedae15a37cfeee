// edgesparse-kernel: op=blocks dtype=qb4 isa=simd128,relaxed
#include "dot_qb4.h"

#ifdef __wasm_relaxed_simd__
static const float UNIT = 1;
// sum_i (w[o, i] - 8) * q[i] of 16 inputs and 4 outputs; offset: -64 times the sum of q
ES_INLINE vi4 dot_block(const uint8_t *w, const int8_t *q, const int32_t *offset, int halves) {
  const v128_t a = wasm_v128_load(w), b = wasm_v128_load(w + 16);
  const v128_t start = wasm_i32x4_splat(*offset >> 3);
  v128_t s = sum_quads(halves ? wasm_i32x4_splat(0) : start, load_quad(q), lower(a), halves);
  s = sum_quads(s, load_quad(q + 4), lower(b), halves);
  s = sum_quads(s, load_quad(q + 8), upper(a), halves);
  s = sum_quads(s, load_quad(q + 12), upper(b), halves);
  return halves ? sums(s, halves) + (vi4)start : (vi4)s;
}
#else
static const float UNIT = 1.0f / 256;
// the same, 256 times as large
ES_INLINE vi4 dot_block(const uint8_t *w, const int8_t *q, const int32_t *offset, int halves) {
  (void)halves;
  v128_t s = wasm_i32x4_splat(32 * *offset);
#pragma unroll
  for (uint32_t i = 0; i < 2; i++) {
    const v128_t low = load_quad(q + 4 * i), high = load_quad(q + 8 + 4 * i);
    s = sum_pairs(s, wasm_v128_load(w + 16 * i), even256(low), odd1(low), even16(high), odd256(high));
  }
  return (vi4)s;
}
#endif

ES_INLINE void rows_of_blocks(
    const uint8_t *w, const uint16_t *wscale, const uint16_t *column, const int32_t *start, const float *bias,
    const int8_t *q, const float *scale, const int32_t *offset, float *y, int64_t outputs, int64_t begin, int64_t end,
    int halves) {
  for (int64_t o = 4 * begin; o < 4 * end; o += 4) {
    const int32_t first = start[o / 4], last = start[o / 4 + 1];
    const uint8_t *at = w + 32 * (size_t)first;
    const uint16_t *of = wscale + 4 * (size_t)first;
    vf4 f = {};
#pragma unroll 1
    for (int32_t b = first; b < last; b++, at += 32, of += 4) {
      ES_STAY(at);
      const uint32_t c = column[b];
      f += to_float(dot_block(at, q + 16 * c, offset + c, halves)) * (scales4(of, UNIT) * scale[c]);
    }
    store_outputs(y + o, f, bias ? bias + o : 0, outputs - o);
  }
}

// As in kernels_common/blocks_qb4.c.
void ES_KERNEL(blocks_qb4)(
    const uint8_t *w, const uint16_t *wscale, const uint16_t *column, const int32_t *start, const float *bias,
    const int8_t *q, const float *scale, const int32_t *offset, float *y, int64_t outputs, int64_t begin, int64_t end) {
  if (es_halves()) rows_of_blocks(w, wscale, column, start, bias, q, scale, offset, y, outputs, begin, end, 1);
  else rows_of_blocks(w, wscale, column, start, bias, q, scale, offset, y, outputs, begin, end, 0);
}
