// One channel of a 3x3 depthwise convolution whose border is at most one pixel wide, in at most ES_MAX_N vectors of
// ES_WIDTH numbers, floats or halves (see element_f32.h). Included by depthwise_square_f32.c and _f16.c once per width;
// no include guard on purpose.
//
// A strip of 2 to ES_MAX_N vectors of columns goes down the plane, so that weights, bounds and addresses are set up
// once for all of them. The last vector of a row ends with the row: it may overlap the one before, and nothing beyond
// the row is stored. At the ends of a row only one lane of one vector lies outside, and only that one is masked:
//
//   columns of x    -1 [ 0  1  2  3 ][ 4  5  6  7 ] ..  [ w-4  w-3  w-2  w-1 ] w
//   tap 0            ^  the first lane of the first vector
//   tap 2               the last lane of the last vector                       ^
#ifndef ES_STRIPS_H
#define ES_STRIPS_H
// Lane i of two vectors side by side and every second one, or each, behind it.
#define ES_EVERY2_4(i) i, i + 2, i + 4, i + 6
#define ES_EVERY2_8(i) ES_EVERY2_4(i), i + 8, i + 10, i + 12, i + 14
#define ES_NEXT4(i) i, i + 1, i + 2, i + 3  // `ext`
#define ES_NEXT8(i) ES_NEXT4(i), i + 4, i + 5, i + 6, i + 7

// The compiler must not see where a pointer comes from: it would keep a dozen of them, one for every use in the loop
// over the rows, up to date in the loops over strips and channels.
#define ES_ON_ITS_OWN(pointer) __asm__("" : "+r"(pointer))
#endif

#define V ES_CAT(ES_V, ES_WIDTH, )
#define M ES_CAT(ES_M, ES_WIDTH, )
#define LOAD ES_CAT(ES_LOAD, ES_WIDTH, )
#define STORE ES_CAT(ES_STORE, ES_WIDTH, )
#define SPLAT ES_CAT(ES_SPLAT, ES_WIDTH, )
#define LOAD4 ES_CAT(ES_LOAD, 4, )
#define NAME(f) ES_CAT(f, ES_WIDTH, )
#define STRIP NAME(es_strip)
#define ROW NAME(es_strip_row)

// What stays the same on the way down. weight[0]: w[0..3], [1]: w[4..7], [2]: w[5..8], used lane by lane.
typedef struct {
  ES_CAT(ES_V, 4, ) weight[3];
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

ES_INLINE void NAME(es_strip_store)(const STRIP *s, const int n, const V *acc, ES_T *out) {
#pragma unroll
  for (int v = 0; v < n; v++) {
    const V y = ES_AT_LEAST(ES_WIDTH, acc[v], s->lo);
    STORE(out + (v == n - 1 ? s->last : ES_WIDTH * v), ES_AT_MOST(ES_WIDTH, y, s->hi));
  }
}

// Stride 1: output column q meets q-1, q, q+1.
ES_INLINE ROW NAME(es_strip_load1)(const STRIP *s, const int n, const ES_T *row) {
  ROW x;
#pragma unroll
  for (int v = 0; v < n; v++) {
    const ES_T *p = row + (v == n - 1 ? s->last : ES_WIDTH * v);
    x.tap[0][v] = LOAD(p - 1), x.tap[1][v] = LOAD(p), x.tap[2][v] = LOAD(p + 1);
  }
  x.tap[0][0] = (V)((M)x.tap[0][0] & s->left);
  x.tap[2][n - 1] = (V)((M)x.tap[2][n - 1] & s->right);
  return x;
}

// Stride 2: output column q meets 2q - left and the next two. Lanes 0, 2, 4, .. and 1, 3, 5, .. of two vectors are two
// of the taps (one ld2 on arm64); the third is one of these moved by a lane.
ES_INLINE ROW NAME(es_strip_load2)(const STRIP *s, const int n, const int whole, const int left, const ES_T *row) {
  ROW x;
  V even[ES_MAX_N], odd[ES_MAX_N];
#pragma unroll
  for (int v = 0; v < n; v++) {
    const ES_T *p = row + (v == n - 1 ? 2 * s->last : 2 * ES_WIDTH * v);
    typedef ES_T stored __attribute__((vector_size(2 * ES_WIDTH * sizeof(ES_T)), aligned(sizeof(ES_T))));
    const stored pairs = *(const stored *)p;
    even[v] = __builtin_convertvector(__builtin_shufflevector(pairs, pairs, ES_CAT(ES_EVERY2_, ES_WIDTH, )(0)), V);
    odd[v] = __builtin_convertvector(__builtin_shufflevector(pairs, pairs, ES_CAT(ES_EVERY2_, ES_WIDTH, )(1)), V);
  }
#pragma unroll
  for (int v = 0; v < n; v++) {
    const ES_T *p = row + (v == n - 1 ? 2 * s->last : 2 * ES_WIDTH * v);
    if (left) {
      V before = v == 0 || (v == n - 1 && !whole) ? LOAD(p - ES_WIDTH) : odd[v - 1];
      if (v == 0) before = (V)((M)before & s->left);
      x.tap[0][v] = __builtin_shufflevector(before, odd[v], ES_CAT(ES_NEXT, ES_WIDTH, )(ES_WIDTH - 1));
      x.tap[1][v] = even[v], x.tap[2][v] = odd[v];
    } else {
      V behind = v == n - 1 || (v == n - 2 && !whole) ? LOAD(p + 2 * ES_WIDTH) : even[v + 1];
      x.tap[0][v] = even[v], x.tap[1][v] = odd[v];
      x.tap[2][v] = __builtin_shufflevector(even[v], behind, ES_CAT(ES_NEXT, ES_WIDTH, )(1));
    }
  }
  x.tap[2][n - 1] = (V)((M)x.tap[2][n - 1] & s->right);
  return x;
}

// Rows 0..height-1 of a strip, top = left = 1 and as many rows of y. Each row of x is added to three rows of y, whose
// accumulators a, b, c change places from row to row.
ES_INLINE void NAME(es_strip_down1)(const STRIP *s, const int n, const ES_T *x, int64_t width, int64_t height,
                                    ES_T *out) {
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
ES_INLINE void NAME(es_strip_down2)(const STRIP *s, const int n, const int whole, const int left, const ES_T *x,
                                    int64_t width, int64_t height, int64_t top, ES_T *out, int64_t columns,
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
ES_INLINE void NAME(es_strip_plane)(STRIP s, const int stride, const int left, const ES_T *x, const ES_T *w,
                                    float bias, ES_T *out, int64_t height, int64_t width, int64_t rows,
                                    int64_t columns, int64_t top) {
  s.weight[0] = LOAD4(w), s.weight[1] = LOAD4(w + 4), s.weight[2] = LOAD4(w + 5), s.bias = SPLAT(bias);
  for (int64_t i = 0, q = 0; i < s.strips; i++) {
    const int64_t n = s.base + (i < s.longer);
    const int final = i == s.strips - 1;
    s.last = final ? columns - ES_WIDTH - q : ES_WIDTH * (n - 1);
    const int beyond = final && (columns - 1) * stride + 3 - left > width ? 0 : -1, inside = i == 0 ? 0 : -1;
    s.left = s.right = (M){} - 1;
    s.left[stride == 1 ? 0 : ES_WIDTH - 1] = inside, s.right[ES_WIDTH - 1] = beyond;
    const ES_T *in = x + q * stride;
    ES_T *to = out + q;
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
#undef LOAD4
#undef NAME
#undef STRIP
#undef ROW
#undef ES_WIDTH
#undef ES_MAX_N
