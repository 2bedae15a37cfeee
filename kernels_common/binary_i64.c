// edgesparse-kernel: op=binary dtype=i64 isa=any
#define T int64_t
#define U uint64_t
#include "binary_int.h"

// y[i0..i3] = kind(a[i . a_stride], b[i . b_stride]); see binary_f32. Overflow wraps.
void ES_KERNEL(binary_i64)(const int64_t *a, const int64_t *b, int64_t *y, int64_t begin, int64_t end, int64_t kind,
                           const int64_t *dims, const int64_t *a_stride, const int64_t *b_stride) {
  binary_all(a, b, y, begin, end, kind, dims, a_stride, b_stride);
}
