// edgesparse-kernel: op=binary dtype=i32 isa=any
#include "es.h"

#define T int32_t
#define binary_min(x, z) ((x) < (z) ? (x) : (z))
#define binary_max(x, z) ((x) > (z) ? (x) : (z))

// Division by zero gives 0 instead of a trap; the one quotient that does not fit wraps.
ES_INLINE T binary_div(T x, T z) { return z == 0 ? 0 : z == -1 ? (T)(0 - (uint32_t)x) : x / z; }

ES_INLINE T binary_pow(T x, T z) {
  uint32_t power = 1, base = (uint32_t)x;
  if (z < 0) return x == 1 ? 1 : x == -1 ? (z & 1 ? -1 : 1) : 0;
  for (; z; z >>= 1, base *= base)
    if (z & 1) power *= base;
  return (T)power;
}
#include "binary.h"

// y[i0..i3] = kind(a[i . a_stride], b[i . b_stride]); see binary_f32. Overflow wraps.
void ES_KERNEL(binary_i32)(const int32_t *a, const int32_t *b, int32_t *y, int64_t kind, const int64_t *dims,
                           const int64_t *a_stride, const int64_t *b_stride) {
  binary_all(a, b, y, kind, dims, a_stride, b_stride);
}
