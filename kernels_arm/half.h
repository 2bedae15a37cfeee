// Halves (IEEE binary16): how they lie in memory, and what is computed with them.
//
// hf4, hf8: so many halves. cf4, cf8: what kernels compute with: halves where the instruction set has arithmetic for
// them (neon_fp16), floats elsewhere (neon), converted when they are loaded and stored.
#ifndef ES_HALF_H
#define ES_HALF_H
#include "activation_f32.h"

#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
#define ES_FP16 1
#else
#define ES_FP16 0
#endif

// Loads and stores are unaligned, as those of es.h.
#define ES_HALVES(n)                                                                                           \
  typedef _Float16 hf##n __attribute__((vector_size(2 * n)));                                                  \
  typedef _Float16 hu##n __attribute__((vector_size(2 * n), aligned(2)));                                      \
  typedef int16_t hi##n __attribute__((vector_size(2 * n)));                                                   \
  ES_INLINE hf##n load_half##n(const _Float16 *p) { return *(const hu##n *)p; }                                \
  ES_INLINE void store_half##n(_Float16 *p, hf##n v) { *(hu##n *)p = v; }                                      \
  ES_INLINE vf##n widen##n(hf##n v) { return __builtin_convertvector(v, vf##n); }                              \
  ES_INLINE hf##n narrow##n(vf##n v) { return __builtin_convertvector(v, hf##n); }
ES_HALVES(1)
ES_HALVES(4)
ES_HALVES(8)

// cf: vectors that are computed with, ci: integers of the same width, for masks. A NaN stays when it is clamped.
#if ES_FP16
#define ES_COMPUTED(n)                                                                                         \
  typedef hf##n cf##n;                                                                                         \
  typedef hi##n ci##n;                                                                                         \
  ES_INLINE cf##n load_c##n(const _Float16 *p) { return load_half##n(p); }                                     \
  ES_INLINE void store_c##n(_Float16 *p, cf##n v) { store_half##n(p, v); }                                     \
  ES_INLINE cf##n splat_c##n(float f) { return (_Float16)f - (cf##n){}; }                                      \
  ES_INLINE cf##n splat_half##n(_Float16 h) { return h - (cf##n){}; }
#else
#define ES_COMPUTED(n)                                                                                         \
  typedef vf##n cf##n;                                                                                         \
  typedef vi##n ci##n;                                                                                         \
  ES_INLINE cf##n load_c##n(const _Float16 *p) { return widen##n(load_half##n(p)); }                           \
  ES_INLINE void store_c##n(_Float16 *p, cf##n v) { store_half##n(p, narrow##n(v)); }                          \
  ES_INLINE cf##n splat_c##n(float f) { return splat##n(f); }                                                  \
  ES_INLINE cf##n splat_half##n(_Float16 h) { return splat##n((float)h); }
#endif
#define ES_CLAMPED(n)                                                                                          \
  ES_INLINE cf##n clamp_c##n(cf##n v, float lo, float hi) {                                                    \
    v = __builtin_elementwise_maximum(v, splat_c##n(lo));                                                      \
    return __builtin_elementwise_minimum(v, splat_c##n(hi));                                                   \
  }
ES_COMPUTED(1)
ES_COMPUTED(4)
ES_COMPUTED(8)
ES_CLAMPED(1)
ES_CLAMPED(4)
ES_CLAMPED(8)

ES_INLINE void zero_halves(_Float16 *p, int64_t count) {
  for (int64_t i = 0; i < count; i++) p[i] = 0;
}

// As in element_f32.h, for kernels that are written once for both types.
#define ES_T _Float16
#define ES_V cf
#define ES_M ci
#define ES_LOAD load_c
#define ES_STORE store_c
#define ES_SPLAT splat_c
#define ES_CLAMP clamp_c
#define ES_ACT_ROW act_halves
#define ES_ZERO zero_halves

// y[i] = act(x[i]), computed with floats; y may be x.
__attribute__((noinline, unused)) static void act_halves(const _Float16 *x, _Float16 *y, int64_t count, int64_t act,
                                                         float lo, float hi) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) store_half8(y + i, narrow8(es_act8(widen8(load_half8(x + i)), act, lo, hi)));
  for (; i < count; i++) y[i] = (_Float16)es_act1((vf1){(float)x[i]}, act, lo, hi)[0];
}
#endif
