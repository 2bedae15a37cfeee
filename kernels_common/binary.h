// y[i0, i1, i2, i3] = kind(a[sum i * a_stride], b[sum i * b_stride]); y is contiguous.
// The including file defines T (the element) and BINARY_CASES: CASE(number, expression of p and q) for every kind.
enum { ADD = 0, SUB = 1, MUL = 2, DIV = 3, MIN = 4, MAX = 5, POW = 6, MOD = 7, FMOD = 8 };  // as in ops/binary.py
enum { BIT_AND = 9, BIT_OR = 10, BIT_XOR = 11, PRELU = 12 };

#define CASE(kind_, f)                                                                                     \
  case kind_:                                                                                              \
    for (int64_t i = 0; i < n; i++) {                                                                      \
      T p = a[i * sa], q = b[i * sb];                                                                      \
      y[i] = f;                                                                                            \
    }                                                                                                      \
    break;

// One innermost run; unit and zero strides become constants so that the compiler can vectorise.
ES_INLINE void binary_run(const T *a, const T *b, T *y, int64_t n, int64_t kind, int64_t sa, int64_t sb) {
  switch (kind) { BINARY_CASES }
}

// Spans begin..end-1 of the innermost runs, counted through all of them.
ES_INLINE void binary_all(const T *a, const T *b, T *y, int64_t begin, int64_t end, int64_t kind, const int64_t *dims,
                          const int64_t *a_stride, const int64_t *b_stride) {
  const int64_t sa = a_stride[3], sb = b_stride[3], spans = (dims[3] + ES_SPAN - 1) / ES_SPAN;
  while (begin < end) {
    const int64_t run = begin / spans, k = run % dims[2], j = run / dims[2] % dims[1], i = run / dims[2] / dims[1];
    const int64_t from = begin % spans * ES_SPAN;
    begin = (run + 1) * spans < end ? (run + 1) * spans : end;
    const int64_t to = (begin - run * spans) * ES_SPAN, n = (to < dims[3] ? to : dims[3]) - from;
    const T *p = a + i * a_stride[0] + j * a_stride[1] + k * a_stride[2] + from * sa;
    const T *q = b + i * b_stride[0] + j * b_stride[1] + k * b_stride[2] + from * sb;
    T *out = y + run * dims[3] + from;
    if (sa == 1 && sb == 1) binary_run(p, q, out, n, kind, 1, 1);
    else if (sa == 1 && sb == 0) binary_run(p, q, out, n, kind, 1, 0);
    else if (sa == 0 && sb == 1) binary_run(p, q, out, n, kind, 0, 1);
    else binary_run(p, q, out, n, kind, sa, sb);
  }
}
