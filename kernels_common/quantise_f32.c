// edgesparse-kernel: op=quantise dtype=f32 isa=any
#include "es.h"

typedef int8_t b16 __attribute__((vector_size(16)));
typedef int8_t u16b __attribute__((vector_size(16), aligned(1)));

// The nearest integer, of two the even one, for |x| < 2^22: there is no such instruction on every instruction set.
ES_INLINE vf16 nearest(vf16 x) { return (x + 12582912.0f) - 12582912.0f; }

// A group of 32. Divided, not multiplied by an inverse: so that integers are the same wherever they are computed.
ES_INLINE void group(const float *value, int8_t *q, float *scale, int32_t *sum) {
  const vf16 a = load16(value), b = load16(value + 16);
  const vi16 size_a = (vi16)a & 0x7fffffff, size_b = (vi16)b & 0x7fffffff;  // finite floats are ordered as integers are
  const int32_t most = __builtin_reduce_max(__builtin_elementwise_max(size_a, size_b));
  const float top = (union { int32_t i; float f; }){most}.f, by = top / 127.0f;
  vi16 p = {0}, r = {0};
  if (by > 0) {  // subnormal scales are inexact: then, and only then, a quotient may be too large
    const vi16 low = (vi16){} - 127, high = (vi16){} + 127;
    p = __builtin_convertvector(nearest(a / by), vi16), r = __builtin_convertvector(nearest(b / by), vi16);
    p = __builtin_elementwise_min(__builtin_elementwise_max(p, low), high);
    r = __builtin_elementwise_min(__builtin_elementwise_max(r, low), high);
  }
  *(u16b *)q = __builtin_convertvector(p, b16);
  *(u16b *)(q + 16) = __builtin_convertvector(r, b16);
  *scale = by;
  *sum = __builtin_reduce_add(p + r);
}

// Groups of 32: scale[g] = max |value| / 127; q = value / scale[g], rounded to the nearest, of two to the even one,
// and clamped to -127..127 (0 where the scale is 0); sum[g]: the sum of its q. value: (count,), finite; q: (count
// rounded up to 32,), zeros at its end; scale, sum: (ceil(count / 32),).
void ES_KERNEL(quantise_f32)(const float *value, int8_t *q, float *scale, int32_t *sum, int64_t count) {
  int64_t g = 0;
  for (; g < count / 32; g++) group(value + g * 32, q + g * 32, scale + g, sum + g);
  if (count % 32) {
    float last[32] = {0};
    for (int64_t i = 0; i < count % 32; i++) last[i] = value[g * 32 + i];
    group(last, q + g * 32, scale + g, sum + g);
  }
}
