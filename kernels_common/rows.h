// Matrix times vector with the weights by output, the body of rows_f32.c and rows_f16.c, which define T, a weight,
// and LOAD(p), ES_VL of them as floats. As in rows_qc8.h, rows are read side by side from the end to the
// beginning, and what lies in the same place of the next rows of the list is asked for. Always ROWS of them, the last
// one again where there are fewer: other code for the last rows would fuse other products into sums, and results would
// depend on how rows are divided among threads.
#ifndef ES_ROWS_H
#define ES_ROWS_H
#include "es.h"

enum { ROWS = 4, LINE = 64 / sizeof(T) };

// s[r] += the products of LINE weights of each row.
ES_INLINE void line(vf *s, const T *const *w, const float *x) {
  for (int64_t i = 0; i < LINE; i += ES_VL)
#pragma unroll
    for (int r = 0; r < ROWS; r++) s[r] += LOAD(w[r] + i) * load_vf(x + i);
}

ES_INLINE void some_rows(const T *const *w, const T *const *next, const float *x, int64_t n, float *y) {
  vf s[ROWS];
  const int64_t whole = n / LINE * LINE;
#pragma unroll
  for (int r = 0; r < ROWS; r++) s[r] = splat_vf(0);
  if (whole < n) {  // zeros behind what there is
    T some[ROWS][LINE] = {0};
    float xs[LINE] = {0};
    for (int64_t i = whole; i < n; i++) xs[i - whole] = x[i];
    for (int r = 0; r < ROWS; r++) {
      es_ask(next[r] + whole);
      for (int64_t i = whole; i < n; i++) some[r][i - whole] = w[r][i];
    }
    const T *const at[ROWS] = {some[0], some[1], some[2], some[3]};
    line(s, at, xs);
  }
  for (int64_t i = whole - LINE; i >= 0; i -= LINE) {
    const T *at[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      at[r] = w[r] + i;
      es_ask(next[r] + i);
    }
    line(s, at, x + i);
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++) y[r] = es_sum_vf(s[r]);
}

ES_INLINE void rows(const T *w, const float *bias, const int32_t *index, const float *x, float *y, int64_t inputs,
                    int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; j += ROWS) {
    const T *row[ROWS], *next[ROWS];
    float some[ROWS];
    for (int64_t r = 0; r < ROWS; r++) {
      const int64_t here = j + r < end ? j + r : end - 1, after = here + ROWS < end ? here + ROWS : end - 1;
      row[r] = w + (index ? index[here] : here) * inputs;
      next[r] = w + (index ? index[after] : after) * inputs;
    }
    some_rows(row, next, x, inputs, some);
    for (int64_t r = 0; r < ROWS && j + r < end; r++) {
      const int64_t o = index ? index[j + r] : j + r;
      y[o] = some[r] + (bias ? bias[o] : 0);
    }
  }
}

// ES_VL weights or fewer, zeros behind them.
ES_INLINE vf some_weights(const T *w, int64_t count) {
  if (count == ES_VL) return LOAD(w);
  T some[ES_VL] = {0};
  for (int64_t i = 0; i < count; i++) some[i] = w[i];
  return LOAD(some);
}

// TOKENS at a time, so that a weight is read once for all of them.
ES_INLINE void row_many(const T *w, float bias, const float *x, float *y, int64_t n, int64_t x_pitch, int64_t y_pitch) {
  vf s[TOKENS] = {0};
  for (int64_t i = 0; i < n; i += ES_VL) {
    const int64_t m = n - i < ES_VL ? n - i : ES_VL;
    const vf v = some_weights(w + i, m);
#pragma unroll
    for (int t = 0; t < TOKENS; t++) s[t] += v * load_some(x + t * x_pitch + i, m, 0);
  }
  for (int t = 0; t < TOKENS; t++) y[t * y_pitch] = es_sum_vf(s[t]) + bias;
}

// Rows that lie in the cache while all tokens pass.
enum { TOGETHER = 16 };
ES_INLINE void rows_many(const T *w, const float *bias, const float *x, float *y, int64_t tokens, int64_t x_pitch,
                         int64_t y_pitch, int64_t inputs, int64_t begin, int64_t end) {
  for (int64_t from = begin; from < end; from += TOGETHER) {
    const int64_t to = from + TOGETHER < end ? from + TOGETHER : end, whole = tokens / TOKENS * TOKENS;
    for (int64_t t = 0; t < whole; t += TOKENS)
      for (int64_t o = from; o < to; o++)
        row_many(w + o * inputs, bias ? bias[o] : 0, x + t * x_pitch, y + t * y_pitch + o, inputs, x_pitch, y_pitch);
    for (int64_t t = whole; t < tokens; t++) rows(w, bias, 0, x + t * x_pitch, y + t * y_pitch, inputs, from, to);
  }
}
#endif
