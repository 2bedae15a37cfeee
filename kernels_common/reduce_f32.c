// edgesparse-kernel: op=reduce dtype=f32 isa=any
#include "reduce_f32.h"

enum { FINISH_DIVIDE = 1, FINISH_SQRT = 2, FINISH_LOG = 3 };  // as in ops/reduce.py

ES_FOLD(sum, SUM)
ES_FOLD(max, MAX)
ES_FOLD(min, MIN)
ES_FOLD(prod, PROD)
ES_FOLD(sum_square, SUM_SQUARE)
ES_FOLD(l1, L1)
ES_FOLD(sum_exp, LOG_SUM_EXP)

// exp(x - max) neither overflows nor vanishes; an infinite maximum is no shift.
ES_INLINE float shift(float max) { return max - max == 0 ? max : 0; }
ES_INLINE vf16 log_sum_exp_columns(const float *x, int64_t n, int64_t stride, vf16 m) {
  m = max_columns(x, n, stride, m);
  m = ES_PICK(16, m - m == splat16(0.0f), m, splat16(0.0f));
  return es_log16(sum_exp_columns(x, n, stride, m)) + m;
}
ES_INLINE float log_sum_exp_column(const float *x, int64_t n, int64_t stride, float m) {
  m = shift(max_column(x, n, stride, m));
  return es_log1((vf1){sum_exp_column(x, n, stride, m)})[0] + m;
}
ES_INLINE float log_sum_exp_row(const float *x, int64_t n, float m) {
  m = shift(max_row(x, n, m));
  return es_log1((vf1){sum_exp_row(x, n, m)})[0] + m;
}

#define EACH(kind_, name)                                                                                      \
  case kind_:                                                                                                  \
    for (int64_t s = begin; s < end; s++) {                                                                    \
      const int64_t o = s / strips, first = s % strips * 16, last = first + 16 < inner ? first + 16 : inner;   \
      const float *in = x + o * x_outer;                                                                       \
      float *out = y + o * inner;                                                                              \
      if (inner == 1) *out = name##_row(in, n, 0);                                                             \
      else if (last - first == 16) store16(out + first, name##_columns(in + first, n, inner, splat16(0.0f)));  \
      else for (int64_t k = first; k < last; k++) out[k] = name##_column(in + k, n, inner, 0);                 \
      for (int64_t k = first; k < last; k++) out[k] = finished(out[k], finish, by);                            \
    }                                                                                                          \
    break;

ES_INLINE float finished(float y, int64_t finish, float by) {
  if (finish == FINISH_DIVIDE) return y / by;
  if (finish == FINISH_SQRT) return __builtin_sqrtf(y);
  return finish == FINISH_LOG ? es_log1((vf1){y})[0] : y;
}

// y[o, k] = finish(join of take(x[o, i, k]) over i); x: (outer, n, inner), x_outer apart; y: (outer, inner), apart.
// finish: 0 nothing, 1 divide by `divisor`, 2 square root, 3 logarithm.
// Strips begin..end-1 of 16 columns are computed, outer * ceil(inner / 16) in all.
void ES_KERNEL(reduce_f32)(const float *x, float *y, int64_t begin, int64_t end, int64_t n, int64_t inner, int64_t x_outer,
                           int64_t kind, int64_t finish, int64_t divisor) {
  const int64_t strips = (inner + 15) / 16;
  const float by = (float)divisor;
  switch (kind) {
    EACH(SUM, sum)
    EACH(MAX, max)
    EACH(MIN, min)
    EACH(PROD, prod)
    EACH(SUM_SQUARE, sum_square)
    EACH(L1, l1)
    EACH(LOG_SUM_EXP, log_sum_exp)
  }
}
