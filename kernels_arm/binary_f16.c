// edgesparse-kernel: op=binary dtype=f16 isa=neon,neon_fp16
#include "power_f32.h"

#define T _Float16
// As binary_f32; powers and remainders are computed with floats.
#define BINARY_CASES                                                                                  \
  CASE(ADD, p + q) CASE(SUB, p - q) CASE(MUL, p * q) CASE(DIV, p / q)                                 \
  CASE(MIN, p != p || p < q ? p : q) CASE(MAX, p != p || p > q ? p : q) CASE(PRELU, p < 0 ? p * q : p) \
  CASE(POW, (T)es_power((float)p, (float)q)) CASE(MOD, (T)es_modulo((float)p, (float)q))              \
  CASE(FMOD, (T)es_remainder((float)p, (float)q))
#include "binary.h"

// y[i0..i3] = kind(a[i . a_stride], b[i . b_stride]); dims, a_stride, b_stride: 4 each, outermost
// first, strides in elements. y: (dims) contiguous; y may be an operand of the same shape.
// Spans begin..end-1 are computed, of dims[0] * dims[1] * dims[2] runs of dims[3].
void ES_KERNEL(binary_f16)(const _Float16 *a, const _Float16 *b, _Float16 *y, int64_t begin, int64_t end, int64_t kind,
                           const int64_t *dims, const int64_t *a_stride, const int64_t *b_stride) {
  binary_all(a, b, y, begin, end, kind, dims, a_stride, b_stride);
}
