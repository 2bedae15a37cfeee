// A few floats as bytes with one scale.
#ifndef ES_QUANTISE_GROUP_H
#define ES_QUANTISE_GROUP_H
#include "es.h"

typedef int8_t vq __attribute__((vector_size(ES_VL)));
typedef int8_t vq_unaligned __attribute__((vector_size(ES_VL), aligned(1)));

// Rounded half to even, of at most a few thousand.
ES_INLINE vi es_nearest(vf v) {
  const vf shift = splat_vf(0x1.8p23f);  // beyond it, floats are integers
  return __builtin_convertvector((v + shift) - shift, vi);
}

// scale = max |value| / 127, q = value / scale, rounded half to even (0 where scale is 0), sum = the sum of q; the same
// integers on every instruction set. count: a multiple of 16.
ES_INLINE void es_quantise(const float *value, int8_t *q, float *scale, int32_t *sum, int count) {
  vi most = {};  // floats that are not negative are in the order of their bits
  for (int i = 0; i < count; i += ES_VL) {
    const vi size = (vi)load_vf(value + i) & 0x7fffffff, larger = size > most;
    most = (size & larger) | (most & ~larger);
  }
  const union { int32_t i; float f; } largest = {__builtin_reduce_max(most)};
  const float s = largest.f / 127;
  const vf divisor = splat_vf(s > 0 ? s : 1);
  const vi any = s > 0 ? (vi){} - 1 : (vi){};
  vi sums = {};
  for (int i = 0; i < count; i += ES_VL) {
    const vi n = es_nearest(load_vf(value + i) / divisor) & any;
    *(vq_unaligned *)(q + i) = __builtin_convertvector(n, vq);
    sums += n;
  }
  *scale = s, *sum = __builtin_reduce_add(sums);
}
#endif
