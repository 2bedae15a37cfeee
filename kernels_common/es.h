// What every kernel includes: types, the name macro, vectors of the ISA's width.
//
// The build defines ES_SUFFIX (for example _4x4__avx512 or __neon) and ES_VL, the number of
// floats in the widest vector of the ISA: 1 (scalar), 4 (SSE, NEON, WASM), 8 (AVX2), 16 (AVX-512).
// Kernels are freestanding: no libc, no allocation, no global state.
#ifndef ES_H
#define ES_H
#include <stdint.h>
#include <stddef.h>

#define ES_CAT_(a, b, c) a##b##c
#define ES_CAT(a, b, c) ES_CAT_(a, b, c)
// ES_KERNEL(softmax_f32) is es_softmax_f32__neon, or es_spmm_f32_4x4__neon with a tile.
#define ES_KERNEL(stem) ES_CAT(es_, stem, ES_SUFFIX)

#define ES_INLINE static inline __attribute__((always_inline, unused))

// Vectors of 1, 4, 8, 16 floats, and the same width of int32. Loads and stores are unaligned.
#define ES_VECTOR(n)                                                       \
  typedef float vf##n __attribute__((vector_size(4 * n)));                 \
  typedef int32_t vi##n __attribute__((vector_size(4 * n)));               \
  typedef float uf##n __attribute__((vector_size(4 * n), aligned(4)));     \
  ES_INLINE vf##n load##n(const float *p) { return *(const uf##n *)p; }    \
  ES_INLINE void store##n(float *p, vf##n v) { *(uf##n *)p = v; }          \
  ES_INLINE vf##n splat##n(float f) { return f - (vf##n){}; }
ES_VECTOR(1)
ES_VECTOR(4)
ES_VECTOR(8)
ES_VECTOR(16)

// The sum of all lanes, by halves.
ES_INLINE float es_sum1(vf1 v) { return v[0]; }
ES_INLINE float es_sum4(vf4 v) {
  v += __builtin_shufflevector(v, v, 2, 3, 0, 1);
  return v[0] + v[1];
}
ES_INLINE float es_sum8(vf8 v) {
  return es_sum4(__builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7));
}
ES_INLINE float es_sum16(vf16 v) {
  return es_sum8(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                 __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
}

// vf, vi: the widest vector of this ISA.
typedef ES_CAT(vf, ES_VL, ) vf;
typedef ES_CAT(vi, ES_VL, ) vi;
#define load_vf ES_CAT(load, ES_VL, )
#define store_vf ES_CAT(store, ES_VL, )
#define splat_vf ES_CAT(splat, ES_VL, )
#define es_sum_vf ES_CAT(es_sum, ES_VL, )

// Lane i of some numbers in every lane: `fmla v.4s, v.4s, v.s[i]` on NEON. i is a constant, once loops are unrolled.
#define ES_LANE1(q, i) __builtin_shufflevector(q, q, i)
#define ES_LANE4(q, i) __builtin_shufflevector(q, q, i, i, i, i)
#define ES_LANE8(q, i) __builtin_shufflevector(q, q, i, i, i, i, i, i, i, i)
#define ES_LANE16(q, i) __builtin_shufflevector(q, q, i, i, i, i, i, i, i, i, i, i, i, i, i, i, i, i)

// ES_VL floats or fewer: the other lanes are `fill`, and are not stored.
ES_INLINE vf load_some(const float *p, int64_t count, float fill) {
  if (count == ES_VL) return load_vf(p);
  vf v = splat_vf(fill);
  for (int64_t i = 0; i < count; i++) v[i] = p[i];
  return v;
}
ES_INLINE void store_some(float *p, int64_t count, vf v) {
  if (count == ES_VL) {
    store_vf(p, v);
    return;
  }
  for (int64_t i = 0; i < count; i++) p[i] = v[i];
}

// Asks for weights that are soon read once. On x86 into the second cache, which waits for more lines at a time than the
// first: one core of a Zen 4 read 17 GB/s instead of 13. Cores in order, which ARM has, wait for the second one too.
ES_INLINE void es_ask(const void *p) {
#if defined(__x86_64__)
  __builtin_prefetch(p, 0, 2);
#else
  __builtin_prefetch(p);
#endif
}

// Element-wise work is divided among threads in spans of so many elements (SPAN in ops/operator.py): whole vectors and
// whole cache lines, so that results do not depend on where it is cut.
#define ES_SPAN 64

// p[0..count-1] = 0: the padding of planes, a few floats at a time.
ES_INLINE void es_zero(float *p, int64_t count) {
  if (count >= ES_VL) {
    for (int64_t i = 0; i + ES_VL < count; i += ES_VL) store_vf(p + i, (vf){});
    store_vf(p + count - ES_VL, (vf){});
    return;
  }
  for (int64_t i = 0; i < count; i++) p[i] = 0;
}
#endif
