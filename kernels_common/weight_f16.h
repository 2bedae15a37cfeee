// Weights that are halves (IEEE binary16, finite) in kernels that compute with floats.
#ifndef ES_WEIGHT_F16_H
#define ES_WEIGHT_F16_H
#include "es.h"

#if defined(__F16C__) || defined(__aarch64__)
#define ES_CONVERTS_HALVES 1
#else
#define ES_CONVERTS_HALVES 0
#endif

// widen_f16_4(p): 4 halves as floats. Without instructions for it, exponent and mantissa are put where floats have
// them and the difference of the two biases is multiplied in, which subnormal halves need no case of their own for.
#if ES_CONVERTS_HALVES
#define ES_WIDEN_F16(n)                                                                    \
  ES_INLINE vf##n widen_f16_##n(const uint16_t *p) {                                       \
    typedef _Float16 half __attribute__((vector_size(2 * n), aligned(2)));                 \
    return __builtin_convertvector(*(const half *)p, vf##n);                               \
  }
#else
#define ES_WIDEN_F16(n)                                                                    \
  ES_INLINE vf##n widen_f16_##n(const uint16_t *p) {                                       \
    typedef uint16_t half __attribute__((vector_size(2 * n), aligned(2)));                 \
    const vi##n h = __builtin_convertvector(*(const half *)p, vi##n);                      \
    return (vf##n)((vi##n)((vf##n)((h & 0x7fff) << 13) * 0x1p112f) | (h & 0x8000) << 16);  \
  }
#endif
ES_WIDEN_F16(1)
ES_WIDEN_F16(4)
ES_WIDEN_F16(8)
ES_WIDEN_F16(16)
#define widen_f16 ES_CAT(widen_f16_, ES_VL, )
#endif
