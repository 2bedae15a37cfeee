// edgesparse-kernel: op=unary dtype=f32 isa=any
#include "math_f32.h"
#include "trig_f32.h"

// The numbers of edgesparse/ops/unary.py.
enum {
  ABS = 0, NEG = 1, SIGN = 2, EXP = 3, LOG = 4, SQRT = 5, RECIPROCAL = 6, ERF = 7, FLOOR = 8, CEIL = 9, ROUND = 10,
  SIN = 11, COS = 12, SOFTPLUS = 13, SOFTSIGN = 14, ELU = 15, SELU = 16, CELU = 17, THRESHOLDED_RELU = 18, MISH = 19
};

#define SIGN_BIT(n, x) ((vi##n)(x) & (vi##n)splat##n(-0.0f))
#define UNARY(n)                                                                                               \
  ES_INLINE vf##n abs##n(vf##n x) { return (vf##n)((vi##n)x & 0x7fffffff); }                                   \
  ES_INLINE vf##n neg##n(vf##n x) { return -x; }                                                               \
  ES_INLINE vf##n sign##n(vf##n x) {                                                                           \
    vi##n moved = (x < splat##n(0.0f)) | (x > splat##n(0.0f));                                                 \
    return ES_PICK(n, moved, (vf##n)(SIGN_BIT(n, x) | (vi##n)splat##n(1.0f)), x);                              \
  }                                                                                                            \
  ES_INLINE vf##n sqrt##n(vf##n x) { return __builtin_elementwise_sqrt(x); }                                   \
  ES_INLINE vf##n reciprocal##n(vf##n x) { return 1.0f / x; }                                                  \
  /* Adding 2^23 leaves no bits for a fraction, ties go to even; larger numbers are whole already. */          \
  ES_INLINE vf##n round##n(vf##n x) {                                                                          \
    vf##n big = (vf##n)((vi##n)splat##n(8388608.0f) | SIGN_BIT(n, x)), y = (x + big) - big;                    \
    return ES_PICK(n, abs##n(x) < splat##n(8388608.0f), (vf##n)((vi##n)y | SIGN_BIT(n, x)), x);                \
  }                                                                                                            \
  ES_INLINE vf##n floor##n(vf##n x) {                                                                          \
    vf##n y = round##n(x);                                                                                     \
    return ES_PICK(n, y > x, y - 1.0f, y);                                                                     \
  }                                                                                                            \
  ES_INLINE vf##n ceil##n(vf##n x) { return -floor##n(-x); }                                                   \
  /* max(x, 0) + log(1 + u), u = exp(-|x|). log(w) is that of the rounded sum; u / (w - 1) makes it good. */   \
  ES_INLINE vf##n softplus##n(vf##n x) {                                                                       \
    vf##n u = es_exp##n(-abs##n(x)), w = 1.0f + u, d = w - 1.0f;                                               \
    vi##n some = d > splat##n(0.0f);                                                                           \
    vf##n l = ES_PICK(n, some, es_log##n(w) * (u / ES_PICK(n, some, d, w)), u);                                \
    return ES_PICK(n, x > splat##n(0.0f), x + l, l);                                                           \
  }                                                                                                            \
  ES_INLINE vf##n softsign##n(vf##n x) { return x / (1.0f + abs##n(x)); }                                      \
  /* a (exp(x / a) - 1) below 0 as 2 t / (1 - t), t = tanh(x / a / 2), which keeps its digits near 0 */        \
  ES_INLINE vf##n celu##n(vf##n x, float a, float scale) {                                                     \
    vf##n t = es_tanh##n(x * (0.5f * scale));                                                                  \
    return ES_PICK(n, x < splat##n(0.0f), a * (2.0f * t / (1.0f - t)), x);                                     \
  }                                                                                                            \
  ES_INLINE vf##n selu##n(vf##n x, float a, float gamma) { return gamma * celu##n(x, a, 1.0f); }               \
  ES_INLINE vf##n thresholded##n(vf##n x, float a) { return ES_PICK(n, x > splat##n(a), x, splat##n(0.0f)); }  \
  /* x tanh(log(1 + e)) = x e (e + 2) / (e (e + 2) + 2), e = exp(x); from x = 20 on the factor is 1 */         \
  ES_INLINE vf##n mish##n(vf##n x) {                                                                           \
    vf##n e = es_exp##n(ES_PICK(n, x > splat##n(20.0f), splat##n(20.0f), x)), t = e * (e + 2.0f);              \
    return x * (t / (t + 2.0f));                                                                               \
  }
#define UNARY_(n) UNARY(n)
UNARY(1)
#if ES_VL > 1
UNARY_(ES_VL)
#endif

#define EACH(kind_, f, ...)                                                                                    \
  case kind_:                                                                                                  \
    for (; i + ES_VL <= size; i += ES_VL) store_vf(y + i, ES_CAT(f, ES_VL, )(load_vf(x + i), ##__VA_ARGS__));   \
    for (; i < size; i++) store1(y + i, f##1(load1(x + i), ##__VA_ARGS__));                                    \
    break;

// y[i] = kind(x[i]); x and y: (size), y may be x. a: alpha of Elu, Selu, Celu and ThresholdedRelu; b: gamma of Selu.
// Spans begin..end-1 are computed.
void ES_KERNEL(unary_f32)(const float *x, float *y, int64_t begin, int64_t end, int64_t size, int64_t kind, float a,
                          float b) {
  int64_t i = begin * ES_SPAN;
  if (end * ES_SPAN < size) size = end * ES_SPAN;
  switch (kind) {
    EACH(ABS, abs)
    EACH(NEG, neg)
    EACH(SIGN, sign)
    EACH(EXP, es_exp)
    EACH(LOG, es_log)
    EACH(SQRT, sqrt)
    EACH(RECIPROCAL, reciprocal)
    EACH(ERF, es_erf)
    EACH(FLOOR, floor)
    EACH(CEIL, ceil)
    EACH(ROUND, round)
    EACH(SOFTPLUS, softplus)
    EACH(SOFTSIGN, softsign)
    EACH(ELU, celu, a, 1.0f)
    EACH(SELU, selu, a, b)
    EACH(CELU, celu, a, 1.0f / a)
    EACH(THRESHOLDED_RELU, thresholded, a)
    EACH(MISH, mish)
    case SIN:
    case COS:
      for (; i < size; i++) y[i] = es_sine(x[i], kind == COS);
      break;
  }
}
