// A few floats as bytes with one scale.
#ifndef ES_QUANTISE_GROUP_H
#define ES_QUANTISE_GROUP_H
#include "es.h"

// scale = max |value| / 127, q = value / scale, rounded half to even (0 where scale is 0), sum = the sum of q; the same
// integers on every instruction set. count: a multiple of 4, at most 64.
ES_INLINE void es_quantise(const float *value, int8_t *q, float *scale, int32_t *sum, int64_t count) {
  float most = 0;
  for (int64_t i = 0; i < count; i++) {
    const float size = __builtin_fabsf(value[i]);
    most = size > most ? size : most;
  }
  const float s = most / 127;
  int32_t total = 0;
  for (int64_t i = 0; i < count; i++) {
    const float by = s > 0 ? value[i] / s : 0, shift = 0x1.8p23f;  // beyond it, floats are integers
    const int32_t n = (int32_t)((by + shift) - shift);
    q[i] = (int8_t)n, total += n;
  }
  *scale = s, *sum = total;
}
#endif
