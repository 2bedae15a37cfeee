// One channel of a depthwise convolution with an odd square kernel K and stride S = 1 or 2.
//
// A vector of columns goes down the plane. Every row of x is loaded once and added to all output rows that
// see it, which are N = (K - 1) / S + 1 accumulators; the oldest is finished and stored, the others move up:
//
//   row of x     t-1   t   t+1          K = 3, S = 1: N = 3
//   y[t-2]       w0    w1   w2 -> stored
//   y[t-1]             w0   w1   ..
//   y[t]                    w0   ..
//
// Loads at the ends of a row reach into the rows before and behind it; masks clear those lanes.
// Of floats or halves: see element_f32.h.
#ifndef ES_DEPTHWISE_SQUARE_H
#define ES_DEPTHWISE_SQUARE_H

#define V ES_CAT(ES_V, ES_VL, )
#define M ES_CAT(ES_M, ES_VL, )
#define LOAD ES_CAT(ES_LOAD, ES_VL, )
#define STORE ES_CAT(ES_STORE, ES_VL, )
#define SPLAT ES_CAT(ES_SPLAT, ES_VL, )
#define CLAMP ES_CAT(ES_CLAMP, ES_VL, )

// Lanes 0, 2, 4, .. of two vectors side by side, and lanes 1, 3, 5, .., in the order of the ISA's cheapest
// shuffle (x86: within 128 bits); ES_ORDER then gives their natural order, and ES_LANES says which is where.
#define ES_SPLIT1(i) i
#define ES_SPLIT4(i) i, i + 2, i + 4, i + 6
#define ES_COUNT1 0
#define ES_COUNT4 0, 1, 2, 3
#define ES_COUNT8 ES_COUNT4, 4, 5, 6, 7
#define ES_COUNT16 ES_COUNT8, 8, 9, 10, 11, 12, 13, 14, 15
#define ES_ORDER1 0
#define ES_ORDER4 ES_COUNT4
#define ES_LANES1 0
#define ES_LANES4 ES_COUNT4
#if defined(__aarch64__)
#define ES_SPLIT8(i) ES_SPLIT4(i), i + 8, i + 10, i + 12, i + 14
#define ES_ORDER8 ES_COUNT8
#define ES_LANES8 ES_COUNT8
#else
#define ES_SPLIT8(i) i, i + 2, i + 8, i + 10, i + 4, i + 6, i + 12, i + 14
#define ES_SPLIT16(i) \
  i, i + 2, i + 16, i + 18, i + 4, i + 6, i + 20, i + 22, i + 8, i + 10, i + 24, i + 26, i + 12, i + 14, i + 28, i + 30
#define ES_ORDER8 0, 1, 4, 5, 2, 3, 6, 7
#define ES_ORDER16 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15
#define ES_LANES8 0, 1, 4, 5, 2, 3, 6, 7
#define ES_LANES16 0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15
#endif

typedef struct {
  int64_t height, width, rows, columns, top, left, act;
  float lo, hi;  // what sums are clamped to; any other activation comes after, with act_hi
  float act_hi;
} es_depthwise;

// Numbers that may be read before and behind a plane: the left border; vectors that begin in its last row.
enum { ES_DW_BEFORE = 16, ES_DW_BEHIND = 64 };  // as in ops/depthwise.py
enum { ES_DW_AHEAD = 8 };  // rows that are asked for early

// One step down: row t * S - top of x and, where S is 2, the next one. y[t - N + 1] is finished and returned,
// its lanes not yet in order. `first` <= ... < `end` are the rows of x that exist; `inside` says that these do.
ES_INLINE V es_dw_step(const int K, const int S, const int masked, const int inside, int64_t y, int64_t height,
                       const ES_T *row, int64_t width, const V *weight, const M *mask, V bias, V *acc) {
  const int N = (K - 1) / S + 1;
  V done;
#pragma unroll
  for (int s = 0; s < S; s++, row += width) {
    if (inside || (y + s >= 0 && y + s < height)) {
#pragma unroll
      for (int j = 0; j < 5; j++) {
        if (j >= K) continue;
        V in;
        if (S == 1 || ES_VL == 1) {
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

// Columns q..q+ES_VL-1 of output rows first..last-1; row 0 begins at out. Lanes beyond the row are stored only
// where the next row comes to lie: it is computed later.
ES_INLINE void es_dw_down(const es_depthwise *d, const int K, const int S, const int masked, const ES_T *x,
                          const ES_T *w, float bias_, ES_T *out, int64_t q, int64_t first, int64_t last) {
  const int64_t height = d->height, width = d->width, top = d->top, columns = d->columns, left = d->left;
  const int N = (K - 1) / S + 1;
  const float lo = d->lo, hi = d->hi;
  const V bias = SPLAT(bias_);
  V acc[5], weight[25];
  M mask[5];
#pragma unroll
  for (int i = 0; i < 25; i++)
    if (i < K * K) weight[i] = SPLAT(w[i]);
#pragma unroll
  for (int i = 0; i < 5; i++) {
    acc[i] = bias;
    if (masked && i < K) {
      const vi lanes = S == 1 ? (vi){ES_CAT(ES_COUNT, ES_VL, )} : (vi){ES_CAT(ES_LANES, ES_VL, )};
      const vi at = (lanes + (int32_t)q) * S + (int32_t)(i - left);
      mask[i] = __builtin_convertvector((at >= 0) & (at < (int32_t)width), M);
    }
  }
  // Steps inner..outer-1 need no check: their rows of x exist, a row of y is finished, all lanes may be stored.
  const int64_t end = last + N - 1, beyond = q + ES_VL - columns;
  const int64_t whole = beyond > 0 ? end - (beyond + columns - 1) / columns : end;
  int64_t inner = (top + S - 1) / S, outer = height + top < S ? 0 : (height + top - S) / S + 1;
  if (inner < first + N - 1) inner = first + N - 1;
  if (outer > whole) outer = whole;
  const ES_T *row = x + (first * S - top) * width + q * S - left;
  out += (first - (N - 1)) * columns + q;
  for (int64_t t = first; t < end; t++, row += S * width, out += columns) {
    for (; t >= inner && t < outer; t++, row += S * width, out += columns) {
      // Planes of 112x112 do not stay in L2, and one line of a row is all that is used: 1.3 times as fast on x86.
      __builtin_prefetch(out + ES_DW_AHEAD * columns, 1);
      __builtin_prefetch(row + ES_DW_AHEAD * S * width);
      const V y = CLAMP(es_dw_step(K, S, masked, 1, 0, 0, row, width, weight, mask, bias, acc), lo, hi);
      STORE(out, S == 1 ? y : __builtin_shufflevector(y, y, ES_CAT(ES_ORDER, ES_VL, )));
    }
    if (t >= end) break;
    V y = es_dw_step(K, S, masked, 0, t * S - top, height, row, width, weight, mask, bias, acc);
    if (t < first + N - 1) continue;
    y = CLAMP(y, lo, hi);
    if (S == 2) y = __builtin_shufflevector(y, y, ES_CAT(ES_ORDER, ES_VL, ));
    const int64_t room = (end - t) * columns - q;
    if (room >= ES_VL) STORE(out, y);
    else
      for (int i = 0; i < columns - q; i++) out[i] = (ES_T)y[i];
  }
}

ES_INLINE void es_dw_plane(const es_depthwise *d, const int K, const int S, const ES_T *x, const ES_T *w, float bias,
                           ES_T *out, int64_t first, int64_t last) {
  const int64_t columns = d->columns;
  // Vectors from `inner` on see no left border, those up to `end` no right one.
  const int64_t inner = (d->left + S - 1) / S, end = (d->width - K + d->left) / S + 1;
  for (int64_t q = 0; q < columns; q += ES_VL) {
    if (q + ES_VL > columns && columns >= ES_VL) q = columns - ES_VL;  // the last one ends with the row
    if (q >= inner && q + ES_VL <= end) es_dw_down(d, K, S, 0, x, w, bias, out, q, first, last);
    else es_dw_down(d, K, S, 1, x, w, bias, out, q, first, last);
  }
}
#undef V
#undef M
#undef LOAD
#undef STORE
#undef SPLAT
#undef CLAMP
#endif
