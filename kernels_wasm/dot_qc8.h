// Products of bytes in WebAssembly, weights and activations -127..127, 4 outputs in the lanes of a vector.
//
// simd128: 16 bits are the least that is multiplied, and a weight is brought to them where it is, 256 times as large:
// every second one by a shift, the others by a mask. What 32 of them sum up to still fits.
//
// relaxed: engines multiply bytes as the processor does, and differ in what the second operand is: signed on ARM, and
// with 128 added, which is made up for, unsigned on x86 with AVX-VNNI. Other x86 sum two products in 16 bits, which
// they do not fit: there it is as above. Engines are asked once for each call; what comes out is always the same.
#ifndef ES_DOT_QC8_H
#define ES_DOT_QC8_H
#include <wasm_simd128.h>
#include "es.h"
#pragma clang fp contract(off)  // the same answer in every engine
#include "order.h"

enum { ENTRIES = 32, PANEL = 16, PART = ENTRIES * PANEL };  // a group, outputs side by side, bytes of both

// How bytes are multiplied: in 16 bits, or as they are, after 128 has been added or not.
typedef enum { IN_WORDS, SIGNED, UNSIGNED } way;

ES_INLINE way es_way(void) {
#ifdef __wasm_relaxed_simd__
  v128_t q = wasm_i8x16_splat(127), w = wasm_i8x16_splat(-1);
  ES_STAY(q);
  ES_STAY(w);
  const int32_t s = wasm_i32x4_extract_lane(wasm_i32x4_relaxed_dot_i8x16_i7x16_add(q, w, wasm_i32x4_splat(0)), 0);
  return s == -4 * 127 ? SIGNED : s == 4 * 127 * 255 ? UNSIGNED : IN_WORDS;
#else
  return IN_WORDS;
#endif
}

// Of bytes in 16 bits: those with even and with odd numbers, and the same 256 times as large.
ES_INLINE v128_t even256(v128_t v) { return wasm_i16x8_shl(v, 8); }
ES_INLINE v128_t even1(v128_t v) { return wasm_i16x8_shr(even256(v), 8); }
ES_INLINE v128_t odd1(v128_t v) { return wasm_i16x8_shr(v, 8); }
ES_INLINE v128_t odd256(v128_t v) { return wasm_v128_and(v, wasm_i16x8_splat(-256)); }

// Activations of a group as pairs in 16 bits: those with even numbers, 2 of each quad, and those with odd ones.
enum { QUADS = ENTRIES / 4 };
ES_INLINE void put_pairs(int32_t *pairs, const int8_t *q) {
#pragma unroll
  for (uint32_t h = 0; h < 2; h++) {
    const v128_t v = wasm_v128_load(q + 16 * h);
    wasm_v128_store(pairs + 4 * h, even1(v));
    wasm_v128_store(pairs + QUADS + 4 * h, odd1(v));
  }
  ES_IN_ORDER();
}
ES_INLINE vi4 add_pairs(vi4 s, v128_t w, v128_t q) { return s + (vi4)wasm_i32x4_dot_i16x8(w, q); }

// d[v] = sum_i w[o, i] q[i] of 32 inputs, outputs o = 4v..4v+3, 256 times as large. w: 4 inputs of 16 outputs each,
// then the next 4 inputs.
ES_INLINE void dot_pairs(vi4 *d, const uint8_t *w, const int32_t *pairs) {
#pragma unroll
  for (uint32_t v = 0; v < 4; v++) d[v] = (vi4){0};
#pragma unroll 1
  for (const uint8_t *end = w + PART; w != end; w += 64, pairs++) {
    ES_STAY(w);
    ES_STAY(pairs);
    const v128_t even = wasm_v128_load32_splat(pairs), odd = wasm_v128_load32_splat(pairs + QUADS);
#pragma unroll
    for (uint32_t v = 0; v < 4; v++) {
      const v128_t both = wasm_v128_load(w + 16 * v);
      d[v] = add_pairs(add_pairs(d[v], even256(both), even), odd256(both), odd);
      ES_STAY(d[v]);
    }
  }
}

// Products of quads of bytes, where they are not IN_WORDS. `flip`: 128 in every byte where weights have to be unsigned,
// otherwise 0.
#ifdef __wasm_relaxed_simd__
ES_INLINE v128_t flip_of(way how) { return wasm_i8x16_splat(how == UNSIGNED ? -128 : 0); }
ES_INLINE vi4 start_of(int32_t sum, way how) { return (vi4)wasm_i32x4_splat(how == UNSIGNED ? -128 * sum : 0); }
ES_INLINE vi4 add_quads(vi4 s, v128_t w, v128_t q, v128_t flip) {
  return (vi4)wasm_i32x4_relaxed_dot_i8x16_i7x16_add(q, wasm_v128_xor(w, flip), (v128_t)s);
}
ES_INLINE void dot_quads(vi4 *d, const uint8_t *w, const int8_t *q, int32_t sum, way how) {
  const v128_t flip = flip_of(how);
#pragma unroll
  for (uint32_t v = 0; v < 4; v++) d[v] = start_of(sum, how);
#pragma unroll 1
  for (const uint8_t *end = w + PART; w != end; w += 64, q += 4) {
    ES_STAY(w);
    ES_STAY(q);
    const v128_t quad = wasm_v128_load32_splat(q);
#pragma unroll
    for (uint32_t v = 0; v < 4; v++) {
      d[v] = add_quads(d[v], wasm_v128_load(w + 16 * v), quad, flip);
      ES_STAY(d[v]);
    }
  }
}
#endif

#define ES_BYTES(a, b, i)                                                                                \
  wasm_i8x16_shuffle(a, b, i, i + 16, i + 1, i + 17, i + 2, i + 18, i + 3, i + 19, i + 4, i + 20, i + 5, \
                     i + 21, i + 6, i + 22, i + 7, i + 23)
#define ES_WORDS(a, b, i) wasm_i16x8_shuffle(a, b, i, i + 8, i + 1, i + 9, i + 2, i + 10, i + 3, i + 11)

// Of 4 inputs, rows of 16 outputs: quads, of which the inputs of an output are neighbours.
ES_INLINE void interleave(v128_t *quads, const v128_t *row) {
  const v128_t ab = ES_BYTES(row[0], row[1], 0), ab_high = ES_BYTES(row[0], row[1], 8);
  const v128_t cd = ES_BYTES(row[2], row[3], 0), cd_high = ES_BYTES(row[2], row[3], 8);
  quads[0] = ES_WORDS(ab, cd, 0), quads[1] = ES_WORDS(ab, cd, 4);
  quads[2] = ES_WORDS(ab_high, cd_high, 0), quads[3] = ES_WORDS(ab_high, cd_high, 4);
}

// y[0..count-1] = sum * wscale + bias (may be null) of a panel, or of as many outputs as there are. One piece of code,
// which rounds the same everywhere.
ES_INLINE void finish_panel(float *y, const vf4 *sum, const float *wscale, const float *bias, int64_t count) {
  float some[PANEL];
#pragma unroll
  for (uint32_t v = 0; v < 4; v++) store4(some + 4 * v, sum[v]);
#pragma clang loop vectorize(disable) unroll(disable)
  for (int64_t o = 0; o < PANEL && o < count; o++) y[o] = some[o] * wscale[o] + (bias ? bias[o] : 0);
}
#endif
