// One channel of a depthwise convolution of halves, with an odd square kernel K and stride S = 1 or 2. The way down
// the plane is that of depthwise_square_f32.h in kernels_common/, which draws it; sums of 9 or 25 are as wide as what
// the instruction set computes with (see half.h).
#ifndef ES_DEPTHWISE_SQUARE_F16_H
#define ES_DEPTHWISE_SQUARE_F16_H
#include "half.h"

#define V ES_CAT(cf, ES_VL, )
#define M ES_CAT(ci, ES_VL, )
#define LOAD ES_CAT(load_c, ES_VL, )
#define STORE ES_CAT(store_c, ES_VL, )
#define SPLAT ES_CAT(splat_c, ES_VL, )
#define CLAMP ES_CAT(clamp_c, ES_VL, )

// Lanes i, i + 2, .. of two vectors side by side; lanes in order.
#define ES_SPLIT4(i) i, i + 2, i + 4, i + 6
#define ES_SPLIT8(i) ES_SPLIT4(i), i + 8, i + 10, i + 12, i + 14
#define ES_COUNT4 0, 1, 2, 3
#define ES_COUNT8 ES_COUNT4, 4, 5, 6, 7

typedef struct {
  int64_t height, width, rows, columns, top, left, act;
  float lo, hi;  // what sums are clamped to; any other activation comes after, with act_hi
  float act_hi;
} es_depthwise;

// Halves that may be read before and behind a plane: the left border; vectors that begin in its last row.
enum { ES_DW_BEFORE = 16, ES_DW_BEHIND = 64 };  // as in ops/depthwise.py

// One step down: row t * S - top of x and, where S is 2, the next one. y[t - N + 1] is finished and returned.
// `inside` says that these rows exist, else y and height do.
ES_INLINE V es_dw_step(const int K, const int S, const int masked, const int inside, int64_t y, int64_t height,
                       const _Float16 *row, int64_t width, const V *weight, const M *mask, V bias, V *acc) {
  const int N = (K - 1) / S + 1;
  V done;
#pragma unroll
  for (int s = 0; s < S; s++, row += width) {
    if (inside || (y + s >= 0 && y + s < height)) {
#pragma unroll
      for (int j = 0; j < 5; j++) {
        if (j >= K) continue;
        V in;
        if (S == 1) {
          in = LOAD(row + j);
        } else {
          const V a = LOAD(row + j / 2 * 2), b = LOAD(row + j / 2 * 2 + ES_VL);
          in = j % 2 ? __builtin_shufflevector(a, b, ES_CAT(ES_SPLIT, ES_VL, )(1))
                     : __builtin_shufflevector(a, b, ES_CAT(ES_SPLIT, ES_VL, )(0));
        }
        if (masked) in = (V)((M)in & mask[j]);
#pragma unroll
        for (int k = 0; k < 5; k++)  // y[t - k] sees this row with row s + k S of the kernel
          if (k < N && s + k * S < K) acc[N - 1 - k] += weight[(s + k * S) * K + j] * in;
      }
    }
    if (s == 0) done = acc[0];
  }
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (k < N - 1) acc[k] = acc[k + 1];
  acc[N - 1] = bias;
  return done;
}

// Columns q..q+ES_VL-1 of all output rows. Lanes beyond the row are stored only where the next row comes to lie: it is
// computed later.
ES_INLINE void es_dw_down(const es_depthwise *d, const int K, const int S, const int masked, const _Float16 *x,
                          const _Float16 *w, float bias_, _Float16 *out, int64_t q) {
  const int64_t height = d->height, width = d->width, top = d->top, columns = d->columns, left = d->left;
  const int N = (K - 1) / S + 1;
  const float lo = d->lo, hi = d->hi;
  const V bias = SPLAT(bias_);
  V acc[5], weight[25];
  M mask[5];
#pragma unroll
  for (int i = 0; i < 25; i++)
    if (i < K * K) weight[i] = ES_CAT(splat_half, ES_VL, )(w[i]);
#pragma unroll
  for (int i = 0; i < 5; i++) {
    acc[i] = bias;
    if (masked && i < K)
#pragma unroll
      for (int v = 0; v < ES_VL; v++) {
        const int64_t at = (q + v) * S + i - left;
        mask[i][v] = at >= 0 && at < width ? -1 : 0;
      }
  }
  // Steps inner..outer-1 need no check: their rows of x exist, a row of y is finished, all lanes may be stored.
  const int64_t end = d->rows + N - 1, beyond = q + ES_VL - columns;
  const int64_t whole = beyond > 0 ? end - (beyond + columns - 1) / columns : end;
  int64_t inner = (top + S - 1) / S, outer = height + top < S ? 0 : (height + top - S) / S + 1;
  if (inner < N - 1) inner = N - 1;
  if (outer > whole) outer = whole;
  const _Float16 *row = x - top * width + q * S - left;
  out += q - (N - 1) * columns;
  for (int64_t t = 0; t < end; t++, row += S * width, out += columns) {
    for (; t >= inner && t < outer; t++, row += S * width, out += columns) {
      const V y = es_dw_step(K, S, masked, 1, 0, 0, row, width, weight, mask, bias, acc);
      STORE(out, CLAMP(y, lo, hi));
    }
    if (t >= end) break;
    V y = es_dw_step(K, S, masked, 0, t * S - top, height, row, width, weight, mask, bias, acc);
    if (t < N - 1) continue;
    y = CLAMP(y, lo, hi);
    const int64_t room = (end - t) * columns - q;
    if (room >= ES_VL) STORE(out, y);
    else
      for (int i = 0; i < columns - q; i++) out[i] = (_Float16)y[i];
  }
}

ES_INLINE void es_dw_plane(const es_depthwise *d, const int K, const int S, const _Float16 *x, const _Float16 *w,
                           float bias, _Float16 *out) {
  const int64_t columns = d->columns;
  // Vectors from `inner` on see no left border, those up to `end` no right one.
  const int64_t inner = (d->left + S - 1) / S, end = (d->width - K + d->left) / S + 1;
  for (int64_t q = 0; q < columns; q += ES_VL) {
    if (q + ES_VL > columns && columns >= ES_VL) q = columns - ES_VL;  // the last one ends with the row
    if (q >= inner && q + ES_VL <= end) es_dw_down(d, K, S, 0, x, w, bias, out, q);
    else es_dw_down(d, K, S, 1, x, w, bias, out, q);
  }
}
#undef V
#undef M
#undef LOAD
#undef STORE
#undef SPLAT
#undef CLAMP
#endif
