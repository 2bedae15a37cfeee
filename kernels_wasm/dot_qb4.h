// Products of weights of 4 bits with activations of 8 in WebAssembly, 4 outputs in the lanes of a vector.
//
// simd128: 16 bits are the least that is multiplied. As a nibble is widened where it is, and its place (1, 16 or 256
// times as much) made up for by the activation, which has room for that, 32 of them take 3 masks and a shift.
//
// relaxed: bytes are multiplied as they are; u is at most 15, which fits the 7 bits for which every engine gives the
// same. Sums of 4 products are one instruction of ARM and of recent x86. What engines make of it on other x86 is five,
// of which the first one is all that is needed: sums of 2 products, of which a whole group fits 16 bits. `halves` is
// whether those are taken; what comes out is the same.
#ifndef ES_DOT_QB4_H
#define ES_DOT_QB4_H
#include "qb4.h"
#include "order.h"

enum { GROUP_BYTES = 256 };  // 32 inputs of 16 outputs
typedef int8_t es_quad;      // 4 bytes of activations that a vector of weights is multiplied with begin here

ES_INLINE v128_t load_quad(const es_quad *p) { return wasm_v128_load32_splat(p); }

#ifdef __wasm_relaxed_simd__
// Whether four products are summed by two saturated halves, as x86 without AVX-VNNI does.
ES_INLINE int es_halves(void) {
  v128_t q = wasm_i8x16_splat(127), u = wasm_i8x16_splat(-1);
  ES_STAY(q);
  ES_STAY(u);
  return wasm_i32x4_extract_lane(wasm_i32x4_relaxed_dot_i8x16_i7x16_add(q, u, wasm_i32x4_splat(0)), 0) == 2 * 32767;
}

ES_INLINE v128_t sum_quads(v128_t s, v128_t q, v128_t u, int halves) {
  if (halves) return wasm_i16x8_add(s, wasm_i16x8_relaxed_dot_i8x16_i7x16(q, u));
  return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(q, u, s);
}
ES_INLINE vi4 sums(v128_t s, int halves) { return (vi4)(halves ? wasm_i32x4_extadd_pairwise_i16x8(s) : s); }

ES_INLINE v128_t lower(v128_t w) { return wasm_v128_and(w, wasm_i8x16_splat(15)); }
ES_INLINE v128_t upper(v128_t w) { return lower(wasm_u16x8_shr(w, 4)); }
#else
ES_INLINE int es_halves(void) { return 0; }

ES_INLINE v128_t sum_quads(v128_t s, v128_t q, v128_t u, int halves) {
  (void)halves;
  return wasm_i32x4_add(s, wasm_i32x4_dot_i16x8(u, q));
}
ES_INLINE vi4 sums(v128_t s, int halves) {
  (void)halves;
  return (vi4)s;
}

// Of activations in 16 bits: those with even and with odd numbers, `times` as large.
ES_INLINE v128_t even256(v128_t q) { return wasm_i16x8_shl(q, 8); }
ES_INLINE v128_t even16(v128_t q) { return wasm_i16x8_shr(even256(q), 4); }
ES_INLINE v128_t even1(v128_t q) { return wasm_i16x8_shr(even256(q), 8); }
ES_INLINE v128_t odd1(v128_t q) { return wasm_i16x8_shr(q, 8); }
ES_INLINE v128_t odd256(v128_t q) { return wasm_v128_and(q, wasm_i16x8_splat(-256)); }

// s + 256 times the sum of 8 products in each lane, of even and odd inputs of lower and upper nibbles.
ES_INLINE v128_t sum_pairs(v128_t s, v128_t w, v128_t even, v128_t odd, v128_t even_upper, v128_t odd_upper) {
  s = sum_quads(s, even, wasm_v128_and(w, wasm_i16x8_splat(0x000f)), 0);
  s = sum_quads(s, even_upper, wasm_v128_and(w, wasm_i16x8_splat(0x00f0)), 0);
  s = sum_quads(s, odd, wasm_v128_and(w, wasm_i16x8_splat(0x0f00)), 0);
  return sum_quads(s, odd_upper, wasm_u16x8_shr(w, 12), 0);
}
#endif

// Halves, which are scales (finite), to floats; `times`, a power of 2, as large.
ES_INLINE vf4 scales4(const uint16_t *p, float times) {
  const vi4 h = (vi4)wasm_i32x4_load16x4(p);
  return (vf4)(h << 13 & (int32_t)0x8fffe000) * (0x1p112f * times);
}
#endif
