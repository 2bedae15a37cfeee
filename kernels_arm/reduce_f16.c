// edgesparse-kernel: op=reduce dtype=f16 isa=neon
#include "half.h"
#include "reduce_f32.h"

enum { FINISH_DIVIDE = 1, FINISH_SQRT = 2, FINISH_LOG = 3 };  // as in ops/reduce.py

// Joins x[0], x[stride], .., n of them, each of four neighbours; as floats, of which the result is rounded to a half.
ES_INLINE vf4 columns4(const _Float16 *x, int64_t n, int64_t stride, vf4 m, const int kind) {
  vf4 all = splat4(kind == MAX ? -__builtin_inff() : kind == MIN ? __builtin_inff() : kind == PROD);
  for (int64_t i = 0; i < n; i++, x += stride)
    all = fold_join4(all, fold_take4(widen4(load_half4(x)), kind, m), kind);
  return all;
}
ES_INLINE float column(const _Float16 *x, int64_t n, int64_t stride, float m, const int kind) {
  vf1 all = {kind == MAX ? -__builtin_inff() : kind == MIN ? __builtin_inff() : kind == PROD};
  for (int64_t i = 0; i < n; i++, x += stride)
    all = fold_join1(all, fold_take1((vf1){(float)*x}, kind, (vf1){m}), kind);
  return all[0];
}
ES_INLINE float row(const _Float16 *x, int64_t n, float m, const int kind) {
  const int64_t whole = n / 4;
  const vf4 lanes = columns4(x, whole, 4, splat4(m), kind);
  vf1 all = {column(x + whole * 4, n - whole * 4, 1, m, kind)};
  for (int i = 0; i < 4; i++) all = fold_join1(all, (vf1){lanes[i]}, kind);
  return all[0];
}

ES_INLINE float finished(float y, int64_t finish, float by) {
  if (finish == FINISH_DIVIDE) return y / by;
  if (finish == FINISH_SQRT) return __builtin_sqrtf(y);
  return finish == FINISH_LOG ? es_log1((vf1){y})[0] : y;
}

// What exp(x - m) is summed of: it neither overflows nor vanishes; an infinite maximum is no shift.
ES_INLINE float shift(float max) { return max - max == 0 ? max : 0; }

// Columns first..last-1 of (n, inner) at x.
ES_INLINE void strip(const _Float16 *x, _Float16 *y, int64_t n, int64_t inner, int64_t first, int64_t last,
                     const int kind, int64_t finish, float by) {
  int64_t k = first;
  if (inner > 1 && kind != LOG_SUM_EXP)
    for (; k + 4 <= last; k += 4) {
      const vf4 all = columns4(x + k, n, inner, splat4(0), kind);
      for (int i = 0; i < 4; i++) y[k + i] = (_Float16)finished(all[i], finish, by);
    }
  for (; k < last; k++) {
    float m = 0;
    if (kind == LOG_SUM_EXP) m = shift(inner == 1 ? row(x, n, 0, MAX) : column(x + k, n, inner, 0, MAX));
    float all = inner == 1 ? row(x, n, m, kind) : column(x + k, n, inner, m, kind);
    if (kind == LOG_SUM_EXP) all = es_log1((vf1){all})[0] + m;
    y[k] = (_Float16)finished(all, finish, by);
  }
}

#define EACH(kind_)                                                                                            \
  case kind_:                                                                                                  \
    for (int64_t s = begin; s < end; s++) {                                                                    \
      const int64_t o = s / strips, first = s % strips * 16, last = first + 16 < inner ? first + 16 : inner;   \
      strip(x + o * x_outer, y + o * inner, n, inner, first, last, kind_, finish, (float)divisor);             \
    }                                                                                                          \
    break;

// As reduce_f32: y[o, k] = finish(join of take(x[o, i, k]) over i).
void ES_KERNEL(reduce_f16)(const _Float16 *x, _Float16 *y, int64_t begin, int64_t end, int64_t n, int64_t inner,
                           int64_t x_outer, int64_t kind, int64_t finish, int64_t divisor) {
  const int64_t strips = (inner + 15) / 16;
  switch (kind) {
    EACH(SUM)
    EACH(MAX)
    EACH(MIN)
    EACH(PROD)
    EACH(SUM_SQUARE)
    EACH(L1)
    EACH(LOG_SUM_EXP)
  }
}
