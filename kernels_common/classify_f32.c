// edgesparse-kernel: op=classify dtype=f32 isa=any
#include "es.h"

// y[i] = 1 where x[i] is NaN and nan is set, or +infinity and positive is set, or -infinity and negative is set,
// else 0; x and y: (size), apart.
void ES_KERNEL(classify_f32)(const float *x, uint8_t *y, int64_t size, int64_t nan, int64_t positive, int64_t negative) {
  const float top = positive ? __builtin_inff() : __builtin_nanf("");  // nothing equals a NaN
  const float bottom = negative ? -__builtin_inff() : __builtin_nanf("");
  const int any = nan != 0;
  for (int64_t i = 0; i < size; i++) y[i] = ((x[i] != x[i]) & any) | (x[i] == top) | (x[i] == bottom);
}
