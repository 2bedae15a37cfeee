// y[i0, i1, i2, i3] = c[i . c_stride] != 0 ? a[i . a_stride] : b[i . b_stride]; y is contiguous.
// The including file defines T, an element.
#include "es.h"

ES_INLINE void where_run(const uint8_t *c, const T *a, const T *b, T *y, int64_t n, int64_t sc, int64_t sa, int64_t sb) {
  for (int64_t i = 0; i < n; i++) {
    T p = a[i * sa], q = b[i * sb];
    y[i] = c[i * sc] ? p : q;
  }
}

ES_INLINE void where(const uint8_t *c, const T *a, const T *b, T *y, const int64_t *dims, const int64_t *c_stride,
                     const int64_t *a_stride, const int64_t *b_stride) {
  int64_t n = dims[3], sc = c_stride[3], sa = a_stride[3], sb = b_stride[3];
  for (int64_t i = 0; i < dims[0]; i++)
    for (int64_t j = 0; j < dims[1]; j++)
      for (int64_t k = 0; k < dims[2]; k++, y += n) {
        const uint8_t *o = c + i * c_stride[0] + j * c_stride[1] + k * c_stride[2];
        const T *p = a + i * a_stride[0] + j * a_stride[1] + k * a_stride[2];
        const T *q = b + i * b_stride[0] + j * b_stride[1] + k * b_stride[2];
        if (sc == 1 && sa == 1 && sb == 1) where_run(o, p, q, y, n, 1, 1, 1);
        else if (sc == 1 && sa == 1 && sb == 0) where_run(o, p, q, y, n, 1, 1, 0);
        else if (sc == 1 && sa == 0 && sb == 1) where_run(o, p, q, y, n, 1, 0, 1);
        else where_run(o, p, q, y, n, sc, sa, sb);
      }
}
