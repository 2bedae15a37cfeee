// edgesparse-kernel: op=compare dtype=f32 isa=any
#define T float
#define COMPARE_CASES CASE(0, p == q) CASE(1, p < q) CASE(2, p <= q)
#include "compare.h"

// y[i0..i3] = kind(a[i . a_stride], b[i . b_stride]) as 0 or 1; kind: 0 equal, 1 less, 2 less or equal.
// dims, a_stride, b_stride: 4 each, outermost first, strides in elements. y: (dims) contiguous, apart from a and b.
void ES_KERNEL(compare_f32)(const float *a, const float *b, uint8_t *y, int64_t kind, const int64_t *dims,
                            const int64_t *a_stride, const int64_t *b_stride) {
  compare(a, b, y, kind, dims, a_stride, b_stride);
}
