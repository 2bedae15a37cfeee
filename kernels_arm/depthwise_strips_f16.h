// One channel of a 3x3 depthwise convolution of halves whose border is at most one pixel wide: the strips of
// depthwise_strips_f32.h in kernels_common/, which draws them, in at most ES_MAX_N vectors of ES_WIDTH halves (see
// half.h). Included once per width; no include guard on purpose.
#define V ES_CAT(cf, ES_WIDTH, )
#define M ES_CAT(ci, ES_WIDTH, )
#define LOAD ES_CAT(load_c, ES_WIDTH, )
#define STORE ES_CAT(store_c, ES_WIDTH, )
#define SPLAT ES_CAT(splat_c, ES_WIDTH, )
#define NAME(f) ES_CAT(f, ES_WIDTH, )
#define STRIP NAME(es_strip)
#define ROW NAME(es_strip_row)

// What stays the same on the way down. weight[0]: w[0..3], [1]: w[4..7], [2]: w[5..8], used lane by lane.
typedef struct {
  cf4 weight[3];
  V bias, lo, hi;
  M left, right;  // masks of the first and of the last vector, each at an edge of the plane or inside
  int64_t last;     // where the last vector begins, from the first one
  int64_t strips, base, longer;  // a row is so many strips of `base` vectors, the first `longer` of them of one more
} STRIP;

// One row of x as the n vectors that each of the three taps meets.
typedef struct {
  V tap[3][ES_MAX_N];
} ROW;

ES_INLINE void NAME(es_strip_add)(const STRIP *s, const int n, const int kernel_row, const ROW *x, V *acc) {
#define ES_TAP(j, q, lane) \
  for (int v = 0; v < n; v++) \
    acc[v] += ES_CAT(ES_LANE, ES_WIDTH, )(s->weight[q], lane) * x->tap[j][v]
  if (kernel_row == 0) {
#pragma unroll
    ES_TAP(0, 0, 0);
#pragma unroll
    ES_TAP(1, 0, 1);
#pragma unroll
    ES_TAP(2, 0, 2);
  } else if (kernel_row == 1) {
#pragma unroll
    ES_TAP(0, 0, 3);
#pragma unroll
    ES_TAP(1, 1, 0);
#pragma unroll
    ES_TAP(2, 1, 1);
  } else {
#pragma unroll
    ES_TAP(0, 1, 2);
#pragma unroll
    ES_TAP(1, 1, 3);
#pragma unroll
    ES_TAP(2, 2, 3);
  }
#undef ES_TAP
}

ES_INLINE void NAME(es_strip_bias)(const STRIP *s, const int n, V *acc) {
#pragma unroll
  for (int v = 0; v < n; v++) acc[v] = s->bias;
}

ES_INLINE void NAME(es_strip_store)(const STRIP *s, const int n, const V *acc, _Float16 *out) {
#pragma unroll
  for (int v = 0; v < n; v++) {
    const V y = __builtin_elementwise_maximum(acc[v], s->lo);
    STORE(out + (v == n - 1 ? s->last : ES_WIDTH * v), __builtin_elementwise_minimum(y, s->hi));
  }
}

// Stride 1: output column q meets q-1, q, q+1.
ES_INLINE ROW NAME(es_strip_load1)(const STRIP *s, const int n, const _Float16 *row) {
  ROW x;
#pragma unroll
  for (int v = 0; v < n; v++) {
    const _Float16 *p = row + (v == n - 1 ? s->last : ES_WIDTH * v);
    x.tap[0][v] = LOAD(p - 1), x.tap[1][v] = LOAD(p), x.tap[2][v] = LOAD(p + 1);
  }
  x.tap[0][0] = (V)((M)x.tap[0][0] & s->left);
  x.tap[2][n - 1] = (V)((M)x.tap[2][n - 1] & s->right);
  return x;
}

// Stride 2: output column q meets 2q - left and the next two. The even and the odd lanes of two vectors are two
// of the taps (one ld2 on arm64); the third is one of these moved by a lane.
ES_INLINE ROW NAME(es_strip_load2)(const STRIP *s, const int n, const int whole, const int left, const _Float16 *row) {
  ROW x;
  V even[ES_MAX_N], odd[ES_MAX_N];
#pragma unroll
  for (int v = 0; v < n; v++) {
    const _Float16 *p = row + (v == n - 1 ? 2 * s->last : 2 * ES_WIDTH * v);
    const V a = LOAD(p), b = LOAD(p + ES_WIDTH);
    even[v] = __builtin_shufflevector(a, b, ES_CAT(ES_SPLIT, ES_WIDTH, )(0));
    odd[v] = __builtin_shufflevector(a, b, ES_CAT(ES_SPLIT, ES_WIDTH, )(1));
  }
#pragma unroll
  for (int v = 0; v < n; v++) {
    const _Float16 *p = row + (v == n - 1 ? 2 * s->last : 2 * ES_WIDTH * v);
    if (left) {
      V before = v == 0 || (v == n - 1 && !whole) ? LOAD(p - ES_WIDTH) : odd[v - 1];
      if (v == 0) before = (V)((M)before & s->left);
      x.tap[0][v] = __builtin_shufflevector(before, odd[v], ES_CAT(ES_MOVED, ES_WIDTH, )(ES_WIDTH - 1));
      x.tap[1][v] = even[v], x.tap[2][v] = odd[v];
    } else {
      V behind = v == n - 1 || (v == n - 2 && !whole) ? LOAD(p + 2 * ES_WIDTH) : even[v + 1];
      x.tap[0][v] = even[v], x.tap[1][v] = odd[v];
      x.tap[2][v] = __builtin_shufflevector(even[v], behind, ES_CAT(ES_MOVED, ES_WIDTH, )(1));
    }
  }
  x.tap[2][n - 1] = (V)((M)x.tap[2][n - 1] & s->right);
  return x;
}

// Rows 0..height-1 of a strip, top = left = 1 and as many rows of y. Each row of x is added to three rows of y, whose
// accumulators a, b, c change places from row to row.
ES_INLINE void NAME(es_strip_down1)(const STRIP *s, const int n, const _Float16 *x, int64_t width, int64_t height,
                                    _Float16 *out) {
  V a[ES_MAX_N], b[ES_MAX_N], c[ES_MAX_N];
#define ES_ROW(oldest, middle, newest) \
  { \
    const ROW row = NAME(es_strip_load1)(s, n, x); \
    NAME(es_strip_bias)(s, n, newest); \
    NAME(es_strip_add)(s, n, 2, &row, oldest); \
    NAME(es_strip_add)(s, n, 1, &row, middle); \
    NAME(es_strip_store)(s, n, oldest, out); \
    NAME(es_strip_add)(s, n, 0, &row, newest); \
    x += width, out += width; \
  }
#define ES_LAST(oldest, middle) \
  { \
    const ROW row = NAME(es_strip_load1)(s, n, x); \
    NAME(es_strip_add)(s, n, 2, &row, oldest); \
    NAME(es_strip_add)(s, n, 1, &row, middle); \
    NAME(es_strip_store)(s, n, oldest, out); \
    NAME(es_strip_store)(s, n, middle, out + width); \
    return; \
  }
  const ROW row = NAME(es_strip_load1)(s, n, x);
  NAME(es_strip_bias)(s, n, a);
  NAME(es_strip_bias)(s, n, b);
  NAME(es_strip_add)(s, n, 1, &row, a);
  NAME(es_strip_add)(s, n, 0, &row, b);
  x += width;
  for (int64_t rows = height - 2;;) {
    if (rows-- == 0) ES_LAST(a, b)
    ES_ROW(a, b, c)
    if (rows-- == 0) ES_LAST(b, c)
    ES_ROW(b, c, a)
    if (rows-- == 0) ES_LAST(c, a)
    ES_ROW(c, a, b)
  }
#undef ES_ROW
#undef ES_LAST
}

// The same with stride 2, top and left each 0 or 1: of two rows of x one is seen by two rows of y, the other by one.
ES_INLINE void NAME(es_strip_down2)(const STRIP *s, const int n, const int whole, const int left, const _Float16 *x,
                                    int64_t width, int64_t height, int64_t top, _Float16 *out, int64_t columns,
                                    int64_t rows) {
  V acc[ES_MAX_N];
  ROW row;
  NAME(es_strip_bias)(s, n, acc);
  if (top == 0) {
    row = NAME(es_strip_load2)(s, n, whole, left, x);
    NAME(es_strip_add)(s, n, 0, &row, acc);
    x += width;
  }
#pragma unroll 2
  for (int64_t r = rows - 1; r > 0; r--, x += 2 * width, out += columns) {
    row = NAME(es_strip_load2)(s, n, whole, left, x);
    NAME(es_strip_add)(s, n, 1, &row, acc);
    row = NAME(es_strip_load2)(s, n, whole, left, x + width);
    NAME(es_strip_add)(s, n, 2, &row, acc);
    NAME(es_strip_store)(s, n, acc, out);
    NAME(es_strip_bias)(s, n, acc);
    NAME(es_strip_add)(s, n, 0, &row, acc);
  }
  row = NAME(es_strip_load2)(s, n, whole, left, x);
  NAME(es_strip_add)(s, n, 1, &row, acc);
  if (2 * rows - top < height) {
    row = NAME(es_strip_load2)(s, n, whole, left, x + width);
    NAME(es_strip_add)(s, n, 2, &row, acc);
  }
  NAME(es_strip_store)(s, n, acc, out);
}

// Whether the functions below are right for a plane: its rows fill two vectors at least, and no window reaches further
// than one pixel beyond it.
ES_INLINE int NAME(es_strips_fit)(int64_t stride, int64_t height, int64_t width, int64_t rows, int64_t columns,
                                  int64_t top, int64_t left) {
  if (columns <= ES_WIDTH || height < 2) return 0;
  if (stride == 1) return top == 1 && left == 1 && rows == height && columns == width;
  return top <= 1 && left <= 1 && 2 * rows - top <= height && 2 * columns - left <= width;
}

// What is the same for all planes of a call.
ES_INLINE STRIP NAME(es_strip_layout)(int64_t columns, float lo, float hi) {
  const int64_t vectors = (columns + ES_WIDTH - 1) / ES_WIDTH, strips = (vectors + ES_MAX_N - 1) / ES_MAX_N;
  return (STRIP){
      .lo = SPLAT(lo), .hi = SPLAT(hi), .strips = strips, .base = vectors / strips, .longer = vectors % strips,
  };
}

// One plane; s is its layout.
ES_INLINE void NAME(es_strip_plane)(STRIP s, const int stride, const int left, const _Float16 *x, const _Float16 *w,
                                    float bias, _Float16 *out, int64_t height, int64_t width, int64_t rows,
                                    int64_t columns, int64_t top) {
  s.weight[0] = load_c4(w), s.weight[1] = load_c4(w + 4), s.weight[2] = load_c4(w + 5), s.bias = SPLAT(bias);
  for (int64_t i = 0, q = 0; i < s.strips; i++) {
    const int64_t n = s.base + (i < s.longer);
    const int final = i == s.strips - 1;
    s.last = final ? columns - ES_WIDTH - q : ES_WIDTH * (n - 1);
    const int beyond = final && (columns - 1) * stride + 3 - left > width ? 0 : -1, inside = i == 0 ? 0 : -1;
    s.left = s.right = (M){} - 1;
    s.left[stride == 1 ? 0 : ES_WIDTH - 1] = inside, s.right[ES_WIDTH - 1] = beyond;
    const _Float16 *in = x + q * stride;
    _Float16 *to = out + q;
    ES_ON_ITS_OWN(in);
    ES_ON_ITS_OWN(to);
    // Nearly always the last vector follows the others: where it lies is then a constant.
#define ES_DOWN(n) \
  if (s.last == ES_WIDTH * (n - 1)) { \
    s.last = ES_WIDTH * (n - 1); \
    if (stride == 2) NAME(es_strip_down2)(&s, n, 1, left, in, width, height, top, to, columns, rows); \
    else NAME(es_strip_down1)(&s, n, in, width, height, to); \
  } else if (stride == 2) NAME(es_strip_down2)(&s, n, 0, left, in, width, height, top, to, columns, rows); \
  else NAME(es_strip_down1)(&s, n, in, width, height, to);
    switch (n) {
#if ES_MAX_N > 2
      case 4: ES_DOWN(4) break;
      case 3: ES_DOWN(3) break;
#endif
      default: ES_DOWN(2)
    }
#undef ES_DOWN
    q += ES_WIDTH * n;
  }
}
#undef V
#undef M
#undef LOAD
#undef STORE
#undef SPLAT
#undef NAME
#undef STRIP
#undef ROW
#undef ES_WIDTH
#undef ES_MAX_N
