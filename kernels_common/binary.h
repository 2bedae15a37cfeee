// y[i0, i1, i2, i3] = kind(a[sum i * a_stride], b[sum i * b_stride]); y is contiguous.
// The including file defines T (the element) and binary_div, binary_min, binary_max, binary_pow.
enum { ADD = 0, SUB = 1, MUL = 2, DIV = 3, MIN = 4, MAX = 5, POW = 6 };

// One innermost run; unit and zero strides become constants so that the compiler can vectorise.
#define ES_RUN(name, sa_, sb_)                                                                             \
  ES_INLINE void name(const T *a, const T *b, T *y, int64_t n, int64_t kind, int64_t sa, int64_t sb) {     \
    (void)sa, (void)sb;                                                                                    \
    switch (kind) {                                                                                        \
      case ADD: for (int64_t i = 0; i < n; i++) y[i] = a[i * (sa_)] + b[i * (sb_)]; break;                 \
      case SUB: for (int64_t i = 0; i < n; i++) y[i] = a[i * (sa_)] - b[i * (sb_)]; break;                 \
      case MUL: for (int64_t i = 0; i < n; i++) y[i] = a[i * (sa_)] * b[i * (sb_)]; break;                 \
      case DIV: for (int64_t i = 0; i < n; i++) y[i] = binary_div(a[i * (sa_)], b[i * (sb_)]); break;      \
      case MIN: for (int64_t i = 0; i < n; i++) y[i] = binary_min(a[i * (sa_)], b[i * (sb_)]); break;      \
      case MAX: for (int64_t i = 0; i < n; i++) y[i] = binary_max(a[i * (sa_)], b[i * (sb_)]); break;      \
      default: for (int64_t i = 0; i < n; i++) y[i] = binary_pow(a[i * (sa_)], b[i * (sb_)]); break;       \
    }                                                                                                      \
  }
ES_RUN(run_both, 1, 1)
ES_RUN(run_left, 1, 0)
ES_RUN(run_right, 0, 1)
ES_RUN(run_any, sa, sb)

ES_INLINE void binary_all(const T *a, const T *b, T *y, int64_t kind, const int64_t *dims, const int64_t *a_stride,
                          const int64_t *b_stride) {
  int64_t n = dims[3], sa = a_stride[3], sb = b_stride[3];
  for (int64_t i = 0; i < dims[0]; i++)
    for (int64_t j = 0; j < dims[1]; j++)
      for (int64_t k = 0; k < dims[2]; k++, y += n) {
        const T *p = a + i * a_stride[0] + j * a_stride[1] + k * a_stride[2];
        const T *q = b + i * b_stride[0] + j * b_stride[1] + k * b_stride[2];
        if (sa == 1 && sb == 1) run_both(p, q, y, n, kind, 1, 1);
        else if (sa == 1 && sb == 0) run_left(p, q, y, n, kind, 1, 0);
        else if (sa == 0 && sb == 1) run_right(p, q, y, n, kind, 0, 1);
        else run_any(p, q, y, n, kind, sa, sb);
      }
}
