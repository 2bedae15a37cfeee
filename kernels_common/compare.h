// y[i0, i1, i2, i3] = kind(a[sum i * a_stride], b[sum i * b_stride]) as 0 or 1; y is contiguous.
// The including file defines T, the element, and COMPARE_CASES: CASE(number, expression of p and q) for every kind.
#include "es.h"

// One innermost run; unit and zero strides become constants so that the compiler can vectorise.
#define CASE(kind_, f)                                                                                     \
  case kind_:                                                                                              \
    for (int64_t i = 0; i < n; i++) {                                                                      \
      T p = a[i * sa], q = b[i * sb];                                                                      \
      y[i] = (f) ? 1 : 0;                                                                                  \
    }                                                                                                      \
    break;

ES_INLINE void compare_run(const T *a, const T *b, uint8_t *y, int64_t n, int64_t kind, int64_t sa, int64_t sb) {
  switch (kind) { COMPARE_CASES }
}

ES_INLINE void compare(const T *a, const T *b, uint8_t *y, int64_t kind, const int64_t *dims, const int64_t *a_stride,
                       const int64_t *b_stride) {
  int64_t n = dims[3], sa = a_stride[3], sb = b_stride[3];
  for (int64_t i = 0; i < dims[0]; i++)
    for (int64_t j = 0; j < dims[1]; j++)
      for (int64_t k = 0; k < dims[2]; k++, y += n) {
        const T *p = a + i * a_stride[0] + j * a_stride[1] + k * a_stride[2];
        const T *q = b + i * b_stride[0] + j * b_stride[1] + k * b_stride[2];
        if (sa == 1 && sb == 1) compare_run(p, q, y, n, kind, 1, 1);
        else if (sa == 1 && sb == 0) compare_run(p, q, y, n, kind, 1, 0);
        else if (sa == 0 && sb == 1) compare_run(p, q, y, n, kind, 0, 1);
        else compare_run(p, q, y, n, kind, sa, sb);
      }
}
