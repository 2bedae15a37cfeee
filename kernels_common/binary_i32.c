// edgesparse-kernel: op=binary dtype=i32 isa=any
#define T int32_t
#define U uint32_t
#include "binary_int.h"

// y[i0..i3] = kind(a[i . a_stride], b[i . b_stride]); see binary_f32. Overflow wraps.
void ES_KERNEL(binary_i32)(const int32_t *a, const int32_t *b, int32_t *y, int64_t begin, int64_t end, int64_t kind,
                           const int64_t *dims, const int64_t *a_stride, const int64_t *b_stride) {
  binary_all(a, b, y, begin, end, kind, dims, a_stride, b_stride);
}
