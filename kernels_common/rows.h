// Matrix times vector with the weights by output, the body of rows_f32.c and rows_f16.c, which define T, a weight, and
// LOAD(p), ES_VL of them as floats. What lies AHEAD of what is read is asked for: behind the end of a row, the
// beginning of the next one in the list.
#ifndef ES_ROWS_H
#define ES_ROWS_H
#include "es.h"

enum { SUMS = 4, STEP = SUMS * ES_VL, LINE = 64 / sizeof(T), AHEAD = 2048 / sizeof(T) };

ES_INLINE float weight1(const T *w) { return LOAD1(w)[0]; }

ES_INLINE float row(const T *w, const T *next, const float *x, int64_t n) {
  vf s[SUMS] = {0};
  float rest = 0;
  int64_t i = 0;
  for (; i + STEP <= n; i += STEP) {
    const T *ahead = i + AHEAD < n ? w + i + AHEAD : next + (n < AHEAD ? i : i + AHEAD - n);
#pragma unroll
    for (int r = 0; r < SUMS; r++) {
      if (r * ES_VL % LINE == 0) es_ask(ahead + r * ES_VL);
      s[r] += LOAD(w + i + r * ES_VL) * load_vf(x + i + r * ES_VL);
    }
  }
  for (; i + ES_VL <= n; i += ES_VL) s[0] += LOAD(w + i) * load_vf(x + i);
  for (; i < n; i++) rest += weight1(w + i) * x[i];
  return es_sum_vf(s[0] + s[1] + (s[2] + s[3])) + rest;
}

ES_INLINE void rows(const T *w, const float *bias, const int32_t *index, const float *x, float *y, int64_t inputs,
                    int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; j++) {
    const int64_t after = j + 1 < end ? j + 1 : j, o = index ? index[j] : j, next = index ? index[after] : after;
    y[o] = row(w + o * inputs, w + next * inputs, x, inputs) + (bias ? bias[o] : 0);
  }
}

// TOKENS at a time, so that a weight is read once for all of them.
ES_INLINE void row_many(const T *w, float bias, const float *x, float *y, int64_t n, int64_t x_pitch, int64_t y_pitch) {
  vf s[TOKENS] = {0};
  float rest[TOKENS] = {0};
  int64_t i = 0;
  for (; i + ES_VL <= n; i += ES_VL) {
    const vf v = LOAD(w + i);
#pragma unroll
    for (int t = 0; t < TOKENS; t++) s[t] += v * load_vf(x + t * x_pitch + i);
  }
  for (; i < n; i++)
    for (int t = 0; t < TOKENS; t++) rest[t] += weight1(w + i) * x[t * x_pitch + i];
  for (int t = 0; t < TOKENS; t++) y[t * y_pitch] = es_sum_vf(s[t]) + rest[t] + bias;
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
    for (int64_t t = whole; t < tokens; t++)
      for (int64_t o = from; o < to; o++)
        y[t * y_pitch + o] = row(w + o * inputs, w + o * inputs, x + t * x_pitch, inputs) + (bias ? bias[o] : 0);
  }
}
#endif
