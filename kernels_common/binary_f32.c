// edgesparse-kernel: op=binary dtype=f32 isa=any
#include "math_f32.h"

#define T float
#define binary_div(x, z) ((x) / (z))

// As onnxruntime: a NaN in either operand is the result.
ES_INLINE float binary_min(float x, float z) { return x != x || x < z ? x : z; }
ES_INLINE float binary_max(float x, float z) { return x != x || x > z ? x : z; }

// x^z through exp and log, exact for small whole exponents, which is what models have.
ES_INLINE float binary_pow(float x, float z) {
  float whole = __builtin_truncf(z);
  if (whole == z && z >= -64 && z <= 64) {
    int n = (int)(z < 0 ? -z : z);
    float power = 1;
    for (float base = x; n; n >>= 1, base *= base)
      if (n & 1) power *= base;
    return z < 0 ? 1 / power : power;
  }
  if (x == 1) return 1;
  if (z == 0.5f) return __builtin_sqrtf(x);
  float magnitude = es_exp1(es_log1((vf1){x < 0 ? -x : x}) * z)[0];
  if (x >= 0) return magnitude;
  if (whole != z && z - z == 0) return __builtin_nanf("");
  // Beyond 2^24 every float is even.
  return z > -16777216 && z < 16777216 && ((int)z & 1) ? -magnitude : magnitude;
}
#include "binary.h"

// y[i0..i3] = kind(a[i . a_stride], b[i . b_stride]); dims, a_stride, b_stride: 4 each, outermost
// first, strides in elements. y: (dims) contiguous; y may be an operand of the same shape.
void ES_KERNEL(binary_f32)(const float *a, const float *b, float *y, int64_t kind, const int64_t *dims,
                           const int64_t *a_stride, const int64_t *b_stride) {
  binary_all(a, b, y, kind, dims, a_stride, b_stride);
}
