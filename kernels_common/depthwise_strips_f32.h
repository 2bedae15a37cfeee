// One channel of a 3x3 depthwise convolution whose border is at most one pixel wide, for vectors of four floats.
//
// A strip of 2, 3 or 4 vectors of columns goes down the plane, so that weights, bounds and addresses are set up once
// for all of them. The last vector of a row ends with the row: it may overlap the one before, and nothing beyond the
// row is stored. At the ends of a row only one lane of one vector lies outside, and only that one is masked:
//
//   columns of x    -1 [ 0  1  2  3 ][ 4  5  6  7 ] ..  [ w-4  w-3  w-2  w-1 ] w
//   tap 0            ^  the first lane of the first vector
//   tap 2               the last lane of the last vector                       ^
#ifndef ES_DEPTHWISE_STRIPS_F32_H
#define ES_DEPTHWISE_STRIPS_F32_H
#include "activation_f32.h"

enum { ES_STRIP = 4 };  // vectors

// The compiler must not see where a pointer comes from: it would keep a dozen of them, one for every use in the loop
// over the rows, up to date in the loops over strips and channels.
#define ES_ON_ITS_OWN(pointer) __asm__("" : "+r"(pointer))

// What stays the same on the way down. weight[0]: w[0..3], [1]: w[4..7], [2]: w[5..8], used lane by lane.
typedef struct {
  vf4 weight[3], bias, lo, hi;
  vi4 left, right;  // masks of the first and of the last vector, each at an edge of the plane or inside
  int64_t last;     // where the last vector begins, from the first one
  int64_t strips, base, longer;  // a row is so many strips of `base` vectors, the first `longer` of them of one more
} es_strip;

// One row of x as the n vectors that each of the three taps meets.
typedef struct {
  vf4 tap[3][ES_STRIP];
} es_strip_row;

ES_INLINE void es_strip_add(const es_strip *s, const int n, const int kernel_row, const es_strip_row *x, vf4 *acc) {
#define ES_TAP(j, q, lane)                                                                  \
  for (int v = 0; v < n; v++)                                                               \
    acc[v] += __builtin_shufflevector(s->weight[q], s->weight[q], lane, lane, lane, lane) * x->tap[j][v]
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

ES_INLINE void es_strip_bias(const es_strip *s, const int n, vf4 *acc) {
#pragma unroll
  for (int v = 0; v < n; v++) acc[v] = s->bias;
}

ES_INLINE void es_strip_store(const es_strip *s, const int n, const vf4 *acc, float *out) {
#pragma unroll
  for (int v = 0; v < n; v++) {
    const vf4 y = ES_AT_LEAST(4, acc[v], s->lo);
    store4(out + (v == n - 1 ? s->last : 4 * v), ES_AT_MOST(4, y, s->hi));
  }
}

// Stride 1: output column q meets q-1, q, q+1.
ES_INLINE es_strip_row es_strip_load1(const es_strip *s, const int n, const float *row) {
  es_strip_row x;
#pragma unroll
  for (int v = 0; v < n; v++) {
    const float *p = row + (v == n - 1 ? s->last : 4 * v);
    x.tap[0][v] = load4(p - 1), x.tap[1][v] = load4(p), x.tap[2][v] = load4(p + 1);
  }
  x.tap[0][0] = (vf4)((vi4)x.tap[0][0] & s->left);
  x.tap[2][n - 1] = (vf4)((vi4)x.tap[2][n - 1] & s->right);
  return x;
}

// Stride 2: output column q meets 2q - left and the next two. Lanes 0, 2, 4, 6 and 1, 3, 5, 7 of eight floats are two
// of the taps (one ld2 on arm64); the third is one of these moved by a lane.
ES_INLINE es_strip_row es_strip_load2(const es_strip *s, const int n, const int whole, const int left, const float *row) {
  es_strip_row x;
  vf4 even[ES_STRIP], odd[ES_STRIP];
#pragma unroll
  for (int v = 0; v < n; v++) {
    const float *p = row + (v == n - 1 ? 2 * s->last : 8 * v);
    const vf8 pairs = load8(p);
    even[v] = __builtin_shufflevector(pairs, pairs, 0, 2, 4, 6), odd[v] = __builtin_shufflevector(pairs, pairs, 1, 3, 5, 7);
  }
#pragma unroll
  for (int v = 0; v < n; v++) {
    const float *p = row + (v == n - 1 ? 2 * s->last : 8 * v);
    if (left) {
      vf4 before = v == 0 || (v == n - 1 && !whole) ? load4(p - 4) : odd[v - 1];
      if (v == 0) before = (vf4)((vi4)before & s->left);
      x.tap[0][v] = __builtin_shufflevector(before, odd[v], 3, 4, 5, 6), x.tap[1][v] = even[v], x.tap[2][v] = odd[v];
    } else {
      vf4 behind = v == n - 1 || (v == n - 2 && !whole) ? load4(p + 8) : even[v + 1];
      x.tap[0][v] = even[v], x.tap[1][v] = odd[v], x.tap[2][v] = __builtin_shufflevector(even[v], behind, 1, 2, 3, 4);
    }
  }
  x.tap[2][n - 1] = (vf4)((vi4)x.tap[2][n - 1] & s->right);
  return x;
}

// Rows 0..height-1 of a strip, top = left = 1 and as many rows of y. Each row of x is added to three rows of y, whose
// accumulators a, b, c change places from row to row.
ES_INLINE void es_strip_down1(const es_strip *s, const int n, const float *x, int64_t width,
                              int64_t height, float *out) {
  vf4 a[ES_STRIP], b[ES_STRIP], c[ES_STRIP];
#define ES_ROW(oldest, middle, newest)                                  \
  {                                                                     \
    const es_strip_row row = es_strip_load1(s, n, x);           \
    es_strip_bias(s, n, newest);                                        \
    es_strip_add(s, n, 2, &row, oldest);                                \
    es_strip_add(s, n, 1, &row, middle);                                \
    es_strip_store(s, n, oldest, out);                                  \
    es_strip_add(s, n, 0, &row, newest);                                \
    x += width, out += width;                                           \
  }
#define ES_LAST(oldest, middle)                                         \
  {                                                                     \
    const es_strip_row row = es_strip_load1(s, n, x);           \
    es_strip_add(s, n, 2, &row, oldest);                                \
    es_strip_add(s, n, 1, &row, middle);                                \
    es_strip_store(s, n, oldest, out);                                  \
    es_strip_store(s, n, middle, out + width);                          \
    return;                                                             \
  }
  const es_strip_row row = es_strip_load1(s, n, x);
  es_strip_bias(s, n, a);
  es_strip_bias(s, n, b);
  es_strip_add(s, n, 1, &row, a);
  es_strip_add(s, n, 0, &row, b);
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
ES_INLINE void es_strip_down2(const es_strip *s, const int n, const int whole, const int left, const float *x, int64_t width,
                              int64_t height, int64_t top, float *out, int64_t columns, int64_t rows) {
  vf4 acc[ES_STRIP];
  es_strip_row row;
  es_strip_bias(s, n, acc);
  if (top == 0) {
    row = es_strip_load2(s, n, whole, left, x);
    es_strip_add(s, n, 0, &row, acc);
    x += width;
  }
#pragma unroll 2
  for (int64_t r = rows - 1; r > 0; r--, x += 2 * width, out += columns) {
    row = es_strip_load2(s, n, whole, left, x);
    es_strip_add(s, n, 1, &row, acc);
    row = es_strip_load2(s, n, whole, left, x + width);
    es_strip_add(s, n, 2, &row, acc);
    es_strip_store(s, n, acc, out);
    es_strip_bias(s, n, acc);
    es_strip_add(s, n, 0, &row, acc);
  }
  row = es_strip_load2(s, n, whole, left, x);
  es_strip_add(s, n, 1, &row, acc);
  if (2 * rows - top < height) {
    row = es_strip_load2(s, n, whole, left, x + width);
    es_strip_add(s, n, 2, &row, acc);
  }
  es_strip_store(s, n, acc, out);
}

// Whether the functions below are right for a plane: its rows fill two vectors at least, and no window reaches further
// than one pixel beyond it.
ES_INLINE int es_strips_fit(int64_t stride, int64_t height, int64_t width, int64_t rows, int64_t columns, int64_t top,
                            int64_t left) {
  if (columns <= 4 || height < 2) return 0;
  if (stride == 1) return top == 1 && left == 1 && rows == height && columns == width;
  return top <= 1 && left <= 1 && 2 * rows - top <= height && 2 * columns - left <= width;
}

// What is the same for all planes of a call.
ES_INLINE es_strip es_strip_layout(int64_t columns, float lo, float hi) {
  const int64_t vectors = (columns + 3) / 4, strips = (vectors + ES_STRIP - 1) / ES_STRIP;
  return (es_strip){
      .lo = splat4(lo), .hi = splat4(hi), .strips = strips, .base = vectors / strips, .longer = vectors % strips,
  };
}

// One plane; s is its layout.
ES_INLINE void es_strip_plane(es_strip s, const int stride, const int left, const float *x, const float *w, float bias,
                              float *out, int64_t height, int64_t width, int64_t rows, int64_t columns, int64_t top) {
  s.weight[0] = load4(w), s.weight[1] = load4(w + 4), s.weight[2] = load4(w + 5), s.bias = splat4(bias);
  for (int64_t i = 0, q = 0; i < s.strips; i++) {
    const int64_t n = s.base + (i < s.longer);
    const int final = i == s.strips - 1;
    s.last = final ? columns - 4 - q : 4 * n - 4;
    const int32_t beyond = final && (columns - 1) * stride + 3 - left > width ? 0 : -1, inside = i == 0 ? 0 : -1;
    s.left = stride == 1 ? (vi4){inside, -1, -1, -1} : (vi4){-1, -1, -1, inside};
    s.right = (vi4){-1, -1, -1, beyond};
    const float *in = x + q * stride;
    float *to = out + q;
    ES_ON_ITS_OWN(in);
    ES_ON_ITS_OWN(to);
    // Nearly always the last vector follows the others: where it lies is then a constant.
#define ES_DOWN(n)                                                                                          \
  if (s.last == 4 * n - 4) {                                                                                \
    s.last = 4 * n - 4;                                                                                     \
    if (stride == 2) es_strip_down2(&s, n, 1, left, in, width, height, top, to, columns, rows);             \
    else es_strip_down1(&s, n, in, width, height, to);                                                      \
  } else if (stride == 2) es_strip_down2(&s, n, 0, left, in, width, height, top, to, columns, rows);        \
  else es_strip_down1(&s, n, in, width, height, to);
    if (n == 4) {
      ES_DOWN(4)
    } else if (n == 3) {
      ES_DOWN(3)
    } else {
      ES_DOWN(2)
    }
#undef ES_DOWN
    q += 4 * n;
  }
}
#endif
