// Products of weights of 4 bits with activations of 8: w = scale * (u - 8), u in 0..15; x about scale * q, |q| <= 127.
//
// vb holds ES_VL groups of 4 bytes, one for each 32-bit lane. dot(sum, u, q) adds u[4i..4i+3] . q[4i..4i+3] to lane i,
// in whatever sums the instruction set can add to at once (vs); lanes() are those as int32. Nothing ever saturates:
// u is at most 15, so that two products fit 16 bits with room for ES_QUADS sums of them. All results are exact.
#ifndef ES_QB4_H
#define ES_QB4_H
#include "es.h"
#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#pragma clang fp contract(off)  // the same answer in every engine
#endif

typedef uint8_t vb __attribute__((vector_size(4 * ES_VL)));
typedef uint8_t vb_unaligned __attribute__((vector_size(4 * ES_VL), aligned(1)));
typedef uint16_t vw __attribute__((vector_size(4 * ES_VL)));
typedef int32_t i32_unaligned __attribute__((aligned(1)));

ES_INLINE vb load_vb(const void *p) { return *(const vb_unaligned *)p; }
ES_INLINE vb splat_quad(const int8_t *q) { return (vb)(*(const i32_unaligned *)q + (vi){}); }
ES_INLINE vi splat_vi(int32_t i) { return i + (vi){}; }

// ES_HIGH 4: the upper nibbles need not be shifted down, sums of them are, which is exact.
#define ES_HIGH 0
#define ES_QUADS 16
#if ES_VL == 1
typedef vi vs;
ES_INLINE vs dot(vs s, vb u, vb q) {
  for (int i = 0; i < 4; i++) s[0] += u[i] * (int8_t)q[i];
  return s;
}
ES_INLINE vi lanes(vs s) { return s; }
#elif defined(__AVX512VNNI__)
#undef ES_HIGH
#define ES_HIGH 4
typedef vi vs;
ES_INLINE vs dot(vs s, vb u, vb q) {
#if ES_VL == 16
  return (vs)_mm512_dpbusd_epi32((__m512i)s, (__m512i)u, (__m512i)q);
#else
  return (vs)_mm256_dpbusd_epi32((__m256i)s, (__m256i)u, (__m256i)q);
#endif
}
ES_INLINE vi lanes(vs s) { return s; }
#elif ES_VL >= 8
#undef ES_QUADS
#define ES_QUADS 8  // 8 * 2 * 15 * 127 < 2^15
typedef int16_t vs __attribute__((vector_size(4 * ES_VL)));
#if ES_VL == 16
ES_INLINE vs dot(vs s, vb u, vb q) { return s + (vs)_mm512_maddubs_epi16((__m512i)u, (__m512i)q); }
ES_INLINE vi lanes(vs s) { return (vi)_mm512_madd_epi16((__m512i)s, _mm512_set1_epi16(1)); }
#else
ES_INLINE vs dot(vs s, vb u, vb q) { return s + (vs)_mm256_maddubs_epi16((__m256i)u, (__m256i)q); }
ES_INLINE vi lanes(vs s) { return (vi)_mm256_madd_epi16((__m256i)s, _mm256_set1_epi16(1)); }
#endif
#elif defined(__ARM_FEATURE_DOTPROD)
typedef vi vs;
ES_INLINE vs dot(vs s, vb u, vb q) { return (vs)vdotq_s32((int32x4_t)s, (int8x16_t)u, (int8x16_t)q); }
ES_INLINE vi lanes(vs s) { return s; }
#elif defined(__ARM_NEON)
typedef struct { int16x8_t low, high; } vs;
ES_INLINE vs dot(vs s, vb u, vb q) {
  s.low = vmlal_s8(s.low, vget_low_s8((int8x16_t)u), vget_low_s8((int8x16_t)q));
  s.high = vmlal_high_s8(s.high, (int8x16_t)u, (int8x16_t)q);
  return s;
}
ES_INLINE vi lanes(vs s) { return (vi)vpaddq_s32(vpaddlq_s16(s.low), vpaddlq_s16(s.high)); }
#elif defined(__wasm_relaxed_simd__)
typedef vi vs;
// u fits the 7 bits for which every engine must give the same
ES_INLINE vs dot(vs s, vb u, vb q) {
  return (vs)wasm_i32x4_relaxed_dot_i8x16_i7x16_add((v128_t)q, (v128_t)u, (v128_t)s);
}
ES_INLINE vi lanes(vs s) { return s; }
#else
typedef vi vs;
typedef int16_t vh __attribute__((vector_size(16)));
ES_INLINE vi pairs(vw u, vh q) {
#if defined(__SSE2__)
  return (vi)_mm_madd_epi16((__m128i)u, (__m128i)q);
#else
  return (vi)wasm_i32x4_dot_i16x8((v128_t)u, (v128_t)q);
#endif
}
// of every two bytes one is cut off, and the other one is widened where it is
ES_INLINE vs dot(vs s, vb u, vb q) {
  return s + pairs((vw)u & 0xff, (vh)((vw)q << 8) >> 8) + pairs((vw)u >> 8, (vh)q >> 8);
}
ES_INLINE vi lanes(vs s) { return s; }
#endif

// The nibbles of a byte. The upper ones are 2^ES_HIGH times as large.
ES_INLINE vb low_nibbles(vb w) { return w & 15; }
ES_INLINE vb high_nibbles(vb w) { return ES_HIGH ? w & 0xf0 : w >> 4; }

// Halves to floats. They are scales: finite, of any sign.
typedef uint16_t u16_unaligned __attribute__((aligned(1)));
ES_INLINE float half1(const uint16_t *p) {
  const uint32_t h = *p;
  const union { uint32_t u; float f; } size = {(h & 0x7fff) << 13}, sign = {(h & 0x8000) << 16 | 0x3f800000};
  return size.f * 0x1p112f * sign.f;
}
#define ES_HALVES_BY_BITS(n)                                                        \
  ES_INLINE vf##n half##n(const uint16_t *p) {                                      \
    typedef uint16_t h16 __attribute__((vector_size(2 * n), aligned(2)));           \
    typedef uint16_t h16_ __attribute__((vector_size(2 * n)));                      \
    const vi##n h = __builtin_convertvector((h16_) * (const h16 *)p, vi##n);        \
    const vf##n size = (vf##n)((h & 0x7fff) << 13) * 0x1p112f;                      \
    return (vf##n)((vi##n)size | (h & 0x8000) << 16);                               \
  }
#if defined(__F16C__)
ES_INLINE vf4 half4(const uint16_t *p) { return (vf4)_mm_cvtph_ps(_mm_loadl_epi64((const __m128i_u *)p)); }
ES_INLINE vf8 half8(const uint16_t *p) { return (vf8)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)p)); }
#elif defined(__ARM_NEON)
ES_INLINE vf4 half4(const uint16_t *p) { return (vf4)vcvt_f32_f16((float16x4_t)vld1_u16(p)); }
ES_HALVES_BY_BITS(8)
#elif defined(__SSE2__)
// Beside zeros: compilers would take whatever a register holds, and wait for it.
ES_INLINE vf4 half4(const uint16_t *p) {
  const vi4 h = (vi4)_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64((const __m128i_u *)p));
  const vf4 size = (vf4)(h >> 3 & 0x7fff << 13) * 0x1p112f;
  return (vf4)((vi4)size | (h & INT32_MIN));
}
ES_HALVES_BY_BITS(8)
#else
ES_HALVES_BY_BITS(4)
ES_HALVES_BY_BITS(8)
#endif
#if defined(__AVX512F__)
ES_INLINE vf16 half16(const uint16_t *p) { return (vf16)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)p)); }
#endif
#if ES_VL == 1
ES_INLINE vf half_vf(const uint16_t *p) { return (vf){half1(p)}; }
#else
#define half_vf ES_CAT(half, ES_VL, )
#endif
ES_INLINE vf to_float(vi v) { return __builtin_convertvector(v, vf); }

// The sum of all lanes.
ES_INLINE float total4(vf4 v) {
  const vf4 pairs = v + __builtin_shufflevector(v, v, 2, 3, 0, 1);
  return pairs[0] + pairs[1];
}
ES_INLINE float total_vf(vf v) {
#if ES_VL == 16
  const vf8 low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
  const vf8 half = low + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  return total4(__builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7));
#elif ES_VL == 8
  return total4(__builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7));
#elif ES_VL == 4
  return total4(v);
#else
  return v[0];
#endif
}

// sum_i (w[o, i] - 8) * q[i] of 32 inputs for ES_VL outputs: 4 vectors of bytes, `step` bytes apart; bytes 4o..4o+3 of
// vector k are inputs 4k..4k+3 (lower nibbles) and 16+4k.. of output o. `sum` is that of q.
ES_INLINE vi dot32(const uint8_t *w, int64_t step, const int8_t *q, int32_t sum) {
  vs s;
#if ES_HIGH
  s = splat_vi(-8 * sum << ES_HIGH);
  for (int k = 0; k < 4; k++) s = dot(s, high_nibbles(load_vb(w + k * step)), splat_quad(q + 16 + 4 * k));
  s >>= ES_HIGH;
  for (int k = 0; k < 4; k++) s = dot(s, low_nibbles(load_vb(w + k * step)), splat_quad(q + 4 * k));
  return s;
#else
  s = (vs){0};
  for (int k = 0; k < 4; k++) {
    const vb b = load_vb(w + k * step);
    s = dot(dot(s, low_nibbles(b), splat_quad(q + 4 * k)), high_nibbles(b), splat_quad(q + 16 + 4 * k));
  }
  return lanes(s) - splat_vi(8 * sum);
#endif
}

// The same for several tokens: 32 inputs of ES_VL outputs, a nibble a byte, quads of inputs one after the other.
#define ES_TOKENS (ES_VL == 16 ? 8 : 4)
ES_INLINE vi dot_tile(const vb *u, const int8_t *q, int32_t sum) {
  vs s = {0};
  for (int k = 0; k < 8; k++) s = dot(s, u[k], splat_quad(q + 4 * k));
  return lanes(s) - splat_vi(8 * sum);
}
// f[t] += scale[t] * wscale * dot: `tokens` is a constant, ES_TOKENS or 1; token t begins at q + t * q_pitch.
ES_INLINE void add_tile(
    vf *f, const vb *u, vf wscale, const int8_t *q, const float *scale, const int32_t *sum, int64_t q_pitch,
    int64_t tokens) {
  for (int64_t t = 0; t < tokens; t++) {
    const int64_t g = t * (q_pitch / 32);
    f[t] += to_float(dot_tile(u, q + t * q_pitch, sum[g])) * (wscale * scale[g]);
  }
}

// y[0..count-1] = v + bias[0..count-1], of at most ES_VL
ES_INLINE void store_outputs(float *y, vf v, const float *bias, int64_t count) {
  if (count <= 0) return;
  if (count > ES_VL) count = ES_VL;
  store_some(y, count, bias ? v + load_some(bias, count, 0) : v);
}
#endif
