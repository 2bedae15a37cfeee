// Folding many floats into one with an error that does not grow with their number: blocks of 32 are summed as they
// are, the sums of the blocks with what their rounding lost (Neumaier 1974).
#ifndef ES_REDUCE_F32_H
#define ES_REDUCE_F32_H
#include "math_f32.h"

enum { SUM = 0, MAX = 1, MIN = 2, PROD = 3, SUM_SQUARE = 4, L1 = 5, LOG_SUM_EXP = 6 };  // as in ops/reduce.py

#define ES_FOLD_STEPS(w)                                                                                     \
  ES_INLINE vf##w fold_take##w(vf##w x, const int kind, vf##w m) {                                           \
    if (kind == SUM_SQUARE) return (x - m) * (x - m);                                                        \
    if (kind == L1) return (vf##w)((vi##w)x & 0x7fffffff);                                                   \
    if (kind == LOG_SUM_EXP) return es_exp##w(x - m);                                                        \
    return x;                                                                                                \
  }                                                                                                          \
  /* a NaN on either side is the largest and the smallest */                                                 \
  ES_INLINE vf##w fold_join##w(vf##w a, vf##w x, const int kind) {                                           \
    if (kind == MAX) return ES_PICK(w, (x > a) | (x != x), x, a);                                            \
    if (kind == MIN) return ES_PICK(w, (x < a) | (x != x), x, a);                                            \
    return kind == PROD ? a * x : a + x;                                                                     \
  }                                                                                                          \
  /* joins x[0], x[stride], ..., x[(count - 1) stride] in `chains` independent chains */                     \
  ES_INLINE vf##w fold##w(const float *x, int64_t count, int64_t stride, vf##w m, const int kind, const int chains) { \
    const float none = kind == MAX ? -__builtin_inff() : kind == MIN ? __builtin_inff() : kind == PROD;      \
    const int adds = kind != MAX && kind != MIN && kind != PROD;                                             \
    vf##w total = splat##w(none), lost = splat##w(0);                                                        \
    for (int64_t i = 0; i < count;) {                                                                        \
      int64_t end = count - i > 32 ? i + 32 : count;                                                         \
      vf##w part[4];                                                                                         \
      for (int c = 0; c < chains; c++) part[c] = splat##w(none);                                             \
      for (; i + chains <= end; i += chains, x += chains * stride)                                           \
        for (int c = 0; c < chains; c++)                                                                     \
          part[c] = fold_join##w(part[c], fold_take##w(load##w(x + c * stride), kind, m), kind);             \
      for (; i < end; i++, x += stride) part[0] = fold_join##w(part[0], fold_take##w(load##w(x), kind, m), kind); \
      for (int c = 1; c < chains; c++) part[0] = fold_join##w(part[0], part[c], kind);                       \
      vf##w sum = fold_join##w(total, part[0], kind);                                                        \
      if (adds) {                                                                                            \
        vf##w back = sum - total;                                                                            \
        lost = lost + ((total - (sum - back)) + (part[0] - back));                                           \
      }                                                                                                      \
      total = sum;                                                                                           \
    }                                                                                                        \
    /* what infinities lose is no number */                                                                  \
    return adds ? ES_PICK(w, total - total == splat##w(0.0f), total + lost, total) : total;                  \
  }
ES_FOLD_STEPS(1)
ES_FOLD_STEPS(16)
#if ES_VL == 4
ES_FOLD_STEPS(4)
#elif ES_VL == 8
ES_FOLD_STEPS(8)
#endif

// For one kind: name_columns joins 16 columns side by side, name_column one, name_row n neighbours.
#define ES_FOLD(name, kind)                                                                                  \
  __attribute__((noinline, unused)) static vf16 name##_columns(const float *x, int64_t n, int64_t stride, vf16 m) { \
    return fold16(x, n, stride, m, kind, ES_VL < 16 ? 1 : 4);                                                \
  }                                                                                                          \
  __attribute__((noinline, unused)) static float name##_column(const float *x, int64_t n, int64_t stride, float m) { \
    return fold1(x, n, stride, (vf1){m}, kind, 4)[0];                                                        \
  }                                                                                                          \
  __attribute__((noinline, unused)) static float name##_row(const float *x, int64_t n, float m) {            \
    const int64_t whole = n / ES_VL;                                                                         \
    vf1 rest = {kind == MAX ? -__builtin_inff() : kind == MIN ? __builtin_inff() : kind == PROD};            \
    for (int64_t i = whole * ES_VL; i < n; i++)                                                              \
      rest = fold_join1(rest, fold_take1(load1(x + i), kind, (vf1){m}), kind);                               \
    if (whole == 0) return rest[0];                                                                          \
    vf lanes = ES_CAT(fold, ES_VL, )(x, whole, ES_VL, splat_vf(m), kind, 4);                                 \
    if (kind == MAX || kind == MIN || kind == PROD) {                                                        \
      vf1 all = rest;                                                                                        \
      for (int i = 0; i < ES_VL; i++) all = fold_join1(all, (vf1){lanes[i]}, kind);                          \
      return all[0];                                                                                         \
    }                                                                                                        \
    double all = rest[0];                                                                                    \
    for (int i = 0; i < ES_VL; i++) all += lanes[i];                                                         \
    return (float)all;                                                                                       \
  }
#endif
