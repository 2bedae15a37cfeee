// Products of bytes in WebAssembly, weights and activations -127..127. As in dot_qc8.h of x86, by vectors of 128 bits.
//
// By 16 bits, the same on every engine: what relaxed SIMD multiplies bytes with is not, once activations have 8 bits.
#ifndef ES_DOT_QC8_H
#define ES_DOT_QC8_H
#include <wasm_simd128.h>
#include "es.h"

enum { BYTES = 16, WIDE = 1, TOKENS = 1 };
typedef v128_t V;
typedef vi4 I;
typedef vf4 F;
ES_INLINE V load_v(const uint8_t *p) { return wasm_v128_load(p); }
ES_INLINE V load_piece(const uint8_t *p) { return load_v(p); }
#define LOAD_F load4
#define STORE_F store4

typedef struct { int32_t pair[16], start; } group;  // two activations of 16 bits each
ES_INLINE group prepare(const int8_t *q, int32_t sum) {
  (void)sum;
  group g;
  for (int i = 0; i < 2; i++) {
    const v128_t v = wasm_v128_load(q + 16 * i);
    wasm_v128_store(g.pair + 8 * i, wasm_i16x8_extend_low_i8x16(v));
    wasm_v128_store(g.pair + 8 * i + 4, wasm_i16x8_extend_high_i8x16(v));
  }
  g.start = 0;
  return g;
}

ES_INLINE void two(I *sum, V a, V b, int32_t pair) {
  const V q = wasm_i32x4_splat(pair);
  const V low = wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const V high = wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  sum[0] += (I)wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(low), q);
  sum[1] += (I)wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(low), q);
  sum[2] += (I)wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(high), q);
  sum[3] += (I)wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(high), q);
}
ES_INLINE void four(I *sum, V a, V b, V c, V d, const group *g, int k) {
  two(sum, a, b, g->pair[2 * k]);
  two(sum, c, d, g->pair[2 * k + 1]);
}

// Interleaved weights: sums of the first and of the last two inputs of quads, for outputs 0, 1 and 2, 3.
typedef struct { I low, high; } sums;
ES_INLINE sums none(const group *g) {
  (void)g;
  return (sums){{0}, {0}};
}
ES_INLINE sums pair(sums s, V a, V b, const group *g, int k) {
  const V qa = wasm_v128_load64_splat(g->pair + 2 * k), qb = wasm_v128_load64_splat(g->pair + 2 * k + 2);
  s.low += (I)wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(a), qa);
  s.high += (I)wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(a), qa);
  s.low += (I)wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(b), qb);
  s.high += (I)wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(b), qb);
  return s;
}
ES_INLINE I lanes(sums s) {
  return (I)wasm_i32x4_add(wasm_i32x4_shuffle(s.low, s.high, 0, 2, 4, 6), wasm_i32x4_shuffle(s.low, s.high, 1, 3, 5, 7));
}

// 32 products of one output, in sums of neighbours.
typedef vi4 P;
typedef vf4 PF;
#define SUM_P es_sum4
ES_INLINE P products(const uint8_t *w, const int8_t *q) {
  P sum = {0};
#pragma unroll
  for (int i = 0; i < 32; i += 16) {
    const V a = load_v(w + i), b = wasm_v128_load(q + i);
    sum += (P)wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(a), wasm_i16x8_extend_low_i8x16(b));
    sum += (P)wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(a), wasm_i16x8_extend_high_i8x16(b));
  }
  return sum;
}
#endif
