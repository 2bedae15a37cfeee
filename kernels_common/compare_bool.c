// edgesparse-kernel: op=compare dtype=bool isa=any
#define T uint8_t
#define COMPARE_CASES CASE(0, (p != 0) == (q != 0)) CASE(3, (p != 0) & (q != 0)) CASE(4, (p | q) != 0) \
  CASE(5, (p != 0) != (q != 0))
#include "compare.h"

// y[i0..i3] = kind(a[i . a_stride], b[i . b_stride]) as 0 or 1; kind: 0 equal, 3 and, 4 or, 5 exclusive or.
// dims, a_stride, b_stride: 4 each, outermost first, strides in elements. y: (dims) contiguous, apart from a and b.
void ES_KERNEL(compare_bool)(const uint8_t *a, const uint8_t *b, uint8_t *y, int64_t kind, const int64_t *dims,
                             const int64_t *a_stride, const int64_t *b_stride) {
  compare(a, b, y, kind, dims, a_stride, b_stride);
}
