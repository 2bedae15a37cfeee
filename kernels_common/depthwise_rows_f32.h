// One channel of a 3x3 depthwise convolution with stride 1 or 2, some rows of y at a time: the planes are read and
// written from front to back, and where y ends after a few rows (bands.py) little is set up for nothing.
//
//   6 rows of x  [ q-1 .. ]  ->  4 rows of y, stride 1: 36 multiply-adds of 18 loads
//   5 rows of x              ->  2 rows of y, stride 2
//
// Rows beyond the plane are read from a row of zeros. Only the first and the last vector of a row see the columns
// beyond it; masks clear those lanes.
#ifndef ES_DEPTHWISE_ROWS_F32_H
#define ES_DEPTHWISE_ROWS_F32_H
#include "depthwise_square.h"

#if defined(__x86_64__)
#define ES_DW_IN_ORDER() __asm__ volatile("" ::: "memory")
#else
#define ES_DW_IN_ORDER() ((void)0)
#endif

enum { ES_DW_ROWS = 4, ES_DW_ROWS_2 = 2 };  // of y at a time, for stride 1 and 2

// What is the same for all planes of a call. inside: which lanes of the three taps lie in the plane, of the first and
// the last vector.
typedef struct {
  vi inside[2][3];
  const float *zeros;  // width + ES_DW_BEHIND floats, of which the first ES_DW_BEFORE lie before the pointer
} es_dw_edges;

// Whether no vector but the first and the last of a row sees columns beyond it, and there are some between them: short
// rows are faster down the plane.
ES_INLINE int es_dw_rows_fit(const es_depthwise *d, int64_t S) {
  return ES_VL >= 4 && d->columns > 4 * ES_VL && d->left <= 2 && (d->columns - 2) * S - d->left + 2 < d->width;
}

ES_INLINE es_dw_edges es_dw_edges_of(const es_depthwise *d, const int S, float *zeros) {
  es_dw_edges e;
  const int64_t last = d->columns - ES_VL;
  const vi lanes = S == 1 ? (vi){ES_CAT(ES_COUNT, ES_VL, )} : (vi){ES_CAT(ES_LANES, ES_VL, )};
  for (int i = 0; i < 3; i++)
    for (int side = 0; side < 2; side++) {
      const vi at = (lanes + (int32_t)(side ? last : 0)) * S + (int32_t)(i - d->left);
      e.inside[side][i] = (at >= 0) & (at < (int32_t)d->width);
    }
  es_zero(zeros, ES_DW_BEFORE + d->width + ES_DW_BEHIND);
  e.zeros = zeros + ES_DW_BEFORE;
  return e;
}

// One vector of R rows of y, `columns` apart. in: (R - 1) * S + 3 rows of x.
ES_INLINE void es_dw_vector(const int S, const int R, const vf *weight, vf bias, const vi *inside,
                            const float *const *in, int64_t q, float *out, int64_t columns, float lo, float hi) {
  vf acc[ES_DW_ROWS];
#pragma unroll
  for (int k = 0; k < R; k++) acc[k] = bias;
#pragma unroll
  for (int i = 0; i < (R - 1) * S + 3; i++)
#pragma unroll
    for (int j = 0; j < 3; j++) {
      ES_DW_IN_ORDER();
      const float *p = in[i] + q * S + (S == 1 ? j : j / 2 * 2);
      vf x = load_vf(p);
      if (S == 2) {
        const vf b = load_vf(p + ES_VL);
        x = j % 2 ? __builtin_shufflevector(x, b, ES_CAT(ES_SPLIT, ES_VL, )(1))
                  : __builtin_shufflevector(x, b, ES_CAT(ES_SPLIT, ES_VL, )(0));
      }
      if (inside) x = (vf)((vi)x & inside[j]);
#pragma unroll
      for (int k = 0; k < R; k++)
        if (i - k * S >= 0 && i - k * S < 3) acc[k] += weight[(i - k * S) * 3 + j] * x;
    }
#pragma unroll
  for (int k = 0; k < R; k++, out += columns) {
    vf y = ES_CAT(es_clamp, ES_VL, )(acc[k], lo, hi);
    if (S == 2) y = __builtin_shufflevector(y, y, ES_CAT(ES_ORDER, ES_VL, ));
    store_vf(out + q, y);
  }
}

// Rows r..r+R-1 of y.
ES_INLINE void es_dw_some_rows(const es_depthwise *d, const es_dw_edges *e, const int S, const int R, const vf *weight,
                               vf bias, const float *x, float *y, int64_t r) {
  const int64_t columns = d->columns;
  const float *in[ES_DW_ROWS + 2], lo = d->lo, hi = d->hi;
#pragma unroll
  for (int i = 0; i < (R - 1) * S + 3; i++) {
    const int64_t row = r * S - d->top + i;
    in[i] = (row >= 0 && row < d->height ? x + row * d->width : e->zeros) - d->left;
  }
  float *out = y + r * columns;
  es_dw_vector(S, R, weight, bias, e->inside[0], in, 0, out, columns, lo, hi);
  int64_t q = ES_VL;
  for (; q + ES_VL < columns; q += ES_VL) es_dw_vector(S, R, weight, bias, 0, in, q, out, columns, lo, hi);
  es_dw_vector(S, R, weight, bias, e->inside[1], in, columns - ES_VL, out, columns, lo, hi);
}

ES_INLINE void es_dw_rows(const es_depthwise *d, const es_dw_edges *e, const int S, const float *x, const float *w,
                          float bias, float *y) {
  const int R = S == 1 ? ES_DW_ROWS : ES_DW_ROWS_2;
  vf weight[9];
#pragma unroll
  for (int i = 0; i < 9; i++) weight[i] = splat_vf(w[i]);
  int64_t r = 0;
  for (; r + R <= d->rows; r += R) es_dw_some_rows(d, e, S, R, weight, splat_vf(bias), x, y, r);
  if (R > 2 && r + 2 <= d->rows) es_dw_some_rows(d, e, S, 2, weight, splat_vf(bias), x, y, r), r += 2;
  if (r < d->rows) es_dw_some_rows(d, e, S, 1, weight, splat_vf(bias), x, y, r);
}
#endif
