// edgesparse-kernel: op=where dtype=b4 isa=any
#define T uint32_t
#include "where.h"

// y[i0..i3] = c[i . c_stride] != 0 ? a[i . a_stride] : b[i . b_stride] for elements of 4 bytes.
// dims, c_stride, a_stride, b_stride: 4 each, outermost first, strides in elements.
// y: (dims) contiguous; y may be a or b of the same shape. Spans begin..end-1 are computed, as in binary_f32.
void ES_KERNEL(where_b4)(const uint8_t *c, const uint32_t *a, const uint32_t *b, uint32_t *y, int64_t begin, int64_t end,
                         const int64_t *dims, const int64_t *c_stride, const int64_t *a_stride,
                         const int64_t *b_stride) {
  where(c, a, b, y, begin, end, dims, c_stride, a_stride, b_stride);
}
