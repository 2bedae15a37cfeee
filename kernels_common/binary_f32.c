// edgesparse-kernel: op=binary dtype=f32 isa=any
#include "power_f32.h"

#define T float
// Min and Max as onnxruntime: a NaN in either operand is the result.
#define BINARY_CASES                                                                                  \
  CASE(ADD, p + q) CASE(SUB, p - q) CASE(MUL, p * q) CASE(DIV, p / q)                                 \
  CASE(MIN, p != p || p < q ? p : q) CASE(MAX, p != p || p > q ? p : q) CASE(PRELU, p < 0 ? p * q : p) \
  CASE(POW, es_power(p, q)) CASE(MOD, es_modulo(p, q)) CASE(FMOD, es_remainder(p, q))
#include "binary.h"

// y[i0..i3] = kind(a[i . a_stride], b[i . b_stride]); dims, a_stride, b_stride: 4 each, outermost
// first, strides in elements. y: (dims) contiguous; y may be an operand of the same shape.
// Spans begin..end-1 are computed, of dims[0] * dims[1] * dims[2] runs of dims[3].
void ES_KERNEL(binary_f32)(const float *a, const float *b, float *y, int64_t begin, int64_t end, int64_t kind,
                           const int64_t *dims, const int64_t *a_stride, const int64_t *b_stride) {
  binary_all(a, b, y, begin, end, kind, dims, a_stride, b_stride);
}
