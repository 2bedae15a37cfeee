// Activations by number, the same numbers as edgesparse/ops/activation.py. `act` does not change
// within a call, so the switch is one well-predicted jump per vector.
#ifndef ES_ACTIVATION_F32_H
#define ES_ACTIVATION_F32_H
#include "math_f32.h"

enum {
  ES_ACT_NONE = 0,
  ES_ACT_RELU = 1,
  ES_ACT_CLIP = 2,          // min(max(x, lo), hi)
  ES_ACT_LEAKY_RELU = 3,    // x < 0 ? lo x : x
  ES_ACT_PRELU = 4,         // the same, lo per channel
  ES_ACT_HARD_SWISH = 5,    // x clip(x / 6 + 1/2, 0, 1)
  ES_ACT_HARD_SIGMOID = 6,  // clip(lo x + hi, 0, 1)
  ES_ACT_SILU = 7,          // x sigmoid(x)
  ES_ACT_SIGMOID = 8,
  ES_ACT_TANH = 9,
  ES_ACT_GELU = 10,       // x (1 + erf(x / sqrt 2)) / 2
  ES_ACT_GELU_TANH = 11,  // x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
};

// Whether min(max(x, lo), hi) is all there is to `act`; lo and hi are then set to what it takes.
ES_INLINE int es_act_bounds(int64_t act, float *lo, float *hi) {
  if (act > ES_ACT_CLIP) return 0;
  if (act == ES_ACT_NONE) *lo = -__builtin_inff();
  if (act == ES_ACT_RELU) *lo = 0;
  if (act != ES_ACT_CLIP) *hi = __builtin_inff();
  return 1;
}

// The cheap ones are inlined into every epilogue, the others are one function per vector width:
// inlining exp and erf into every tile of every kernel made modules four times as large.
#define ES_ACTIVATION(n)                                                                                   \
  __attribute__((noinline, unused)) static vf##n es_act_long##n(vf##n x, int64_t act, float lo, float hi) { \
    switch (act) {                                                                                         \
      case ES_ACT_LEAKY_RELU:                                                                              \
      case ES_ACT_PRELU: return ES_PICK(n, x < splat##n(0.0f), x * lo, x);                                 \
      case ES_ACT_HARD_SWISH: return x * es_clamp##n(x * (1.0f / 6.0f) + 0.5f, 0.0f, 1.0f);                \
      case ES_ACT_HARD_SIGMOID: return es_clamp##n(x * lo + hi, 0.0f, 1.0f);                               \
      case ES_ACT_SILU: return x * es_sigmoid##n(x);                                                       \
      case ES_ACT_SIGMOID: return es_sigmoid##n(x);                                                        \
      case ES_ACT_TANH: return es_tanh##n(x);                                                              \
      case ES_ACT_GELU: return x * 0.5f * (1.0f + es_erf_near##n(x * 0.70710678f));                        \
      case ES_ACT_GELU_TANH:                                                                               \
        return x * 0.5f * (1.0f + es_tanh##n(0.7978845608f * (x + 0.044715f * x * x * x)));                \
      default: return x;                                                                                   \
    }                                                                                                      \
  }                                                                                                        \
  ES_INLINE vf##n es_act##n(vf##n x, int64_t act, float lo, float hi) {                                    \
    if (act == ES_ACT_NONE) return x;                                                                      \
    if (act == ES_ACT_RELU) return ES_PICK(n, x < splat##n(0.0f), splat##n(0.0f), x);                      \
    if (act == ES_ACT_CLIP) return es_clamp##n(x, lo, hi);                                                 \
    return es_act_long##n(x, act, lo, hi);                                                                 \
  }
ES_ACTIVATION(1)
ES_ACTIVATION(4)
ES_ACTIVATION(8)
ES_ACTIVATION(16)

// y[i] = act(x[i]); y may be x. 16 at a time: several vectors side by side hide the latency of the polynomials.
__attribute__((noinline, unused)) static void es_act_row(const float *x, float *y, int64_t count, int64_t act, float lo,
                                                         float hi) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) store16(y + i, es_act16(load16(x + i), act, lo, hi));
  for (; i + ES_VL <= count; i += ES_VL) store_vf(y + i, ES_CAT(es_act, ES_VL, )(load_vf(x + i), act, lo, hi));
  if (i < count) store_some(y + i, count - i, ES_CAT(es_act, ES_VL, )(load_some(x + i, count - i, 0), act, lo, hi));
}
#endif
