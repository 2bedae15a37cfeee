// y[i0, i1, i2, i3] = c[i . c_stride] != 0 ? a[i . a_stride] : b[i . b_stride]; y is contiguous.
// The including file defines T, an element.
#include "es.h"

ES_INLINE void where_run(const uint8_t *c, const T *a, const T *b, T *y, int64_t n, int64_t sc, int64_t sa, int64_t sb) {
  for (int64_t i = 0; i < n; i++) {
    T p = a[i * sa], q = b[i * sb];
    y[i] = c[i * sc] ? p : q;
  }
}

// Spans begin..end-1 of the innermost runs, counted through all of them.
ES_INLINE void where(const uint8_t *c, const T *a, const T *b, T *y, int64_t begin, int64_t end, const int64_t *dims,
                     const int64_t *c_stride, const int64_t *a_stride, const int64_t *b_stride) {
  const int64_t sc = c_stride[3], sa = a_stride[3], sb = b_stride[3], spans = (dims[3] + ES_SPAN - 1) / ES_SPAN;
  while (begin < end) {
    const int64_t run = begin / spans, k = run % dims[2], j = run / dims[2] % dims[1], i = run / dims[2] / dims[1];
    const int64_t from = begin % spans * ES_SPAN;
    begin = (run + 1) * spans < end ? (run + 1) * spans : end;
    const int64_t to = (begin - run * spans) * ES_SPAN, n = (to < dims[3] ? to : dims[3]) - from;
    const uint8_t *o = c + i * c_stride[0] + j * c_stride[1] + k * c_stride[2] + from * sc;
    const T *p = a + i * a_stride[0] + j * a_stride[1] + k * a_stride[2] + from * sa;
    const T *q = b + i * b_stride[0] + j * b_stride[1] + k * b_stride[2] + from * sb;
    T *out = y + run * dims[3] + from;
    if (sc == 1 && sa == 1 && sb == 1) where_run(o, p, q, out, n, 1, 1, 1);
    else if (sc == 1 && sa == 1 && sb == 0) where_run(o, p, q, out, n, 1, 1, 0);
    else if (sc == 1 && sa == 0 && sb == 1) where_run(o, p, q, out, n, 1, 0, 1);
    else where_run(o, p, q, out, n, sc, sa, sb);
  }
}
