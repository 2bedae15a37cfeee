// edgesparse-kernel: op=attend dtype=f32 isa=any
#include "math_f32.h"

#define EXP ES_CAT(es_exp, ES_VL, )

// Four keys at a time: four sums, so that no product waits for the one before it.
ES_INLINE void scores(const float *q, const float *k, float *to, int64_t n, int64_t count, float scale) {
  int64_t p = 0;
  for (; p + 4 <= count; p += 4) {
    vf s[4] = {0};
    float rest[4] = {0};
    int64_t i = 0;
    for (; i + ES_VL <= n; i += ES_VL)
      for (int r = 0; r < 4; r++) s[r] += load_vf(q + i) * load_vf(k + (p + r) * n + i);
    for (; i < n; i++)
      for (int r = 0; r < 4; r++) rest[r] += q[i] * k[(p + r) * n + i];
    for (int r = 0; r < 4; r++) to[p + r] = (es_sum_vf(s[r]) + rest[r]) * scale;
  }
  for (; p < count; p++) {
    vf s = splat_vf(0);
    float rest = 0;
    int64_t i = 0;
    for (; i + ES_VL <= n; i += ES_VL) s += load_vf(q + i) * load_vf(k + p * n + i);
    for (; i < n; i++) rest += q[i] * k[p * n + i];
    to[p] = (es_sum_vf(s) + rest) * scale;
  }
}

// to[0..NV * ES_VL - 1] = sum_p weight[p] v[p], times `by`.
#define WEIGHTED(NV)                                                                                          \
  ES_INLINE void weighted##NV(const float *weight, const float *v, float *to, int64_t n, int64_t count, float by) { \
    vf s[NV] = {0};                                                                                           \
    for (int64_t p = 0; p < count; p++)                                                                       \
      _Pragma("unroll") for (int i = 0; i < NV; i++) s[i] += load_vf(v + p * n + i * ES_VL) * weight[p];      \
    _Pragma("unroll") for (int i = 0; i < NV; i++) store_vf(to + i * ES_VL, s[i] * by);                       \
  }
WEIGHTED(1)
WEIGHTED(4)

// y[h] = sum_p softmax_p(cap(q[h] . k[g, p] scale)) v[g, p], g = h / group, cap(s) = cap tanh(s / cap) (0: s itself), p
// over positions first..first+count-1, count >= 1. q, y: (heads, head_dim), y is not q; k, v: (heads / group, capacity,
// head_dim); scratch: (count,). Heads begin..end-1 are computed.
void ES_KERNEL(attend_f32)(const float *q, const float *k, const float *v, float *y, float *scratch, int64_t begin,
                           int64_t end, int64_t group, int64_t head_dim, int64_t capacity, int64_t first, int64_t count,
                           float scale, float cap) {
  const int64_t whole = count / ES_VL * ES_VL;
  for (int64_t head = begin; head < end; head++) {
    const int64_t at = (head / group * capacity + first) * head_dim;
    float *to = y + head * head_dim, *s = scratch;
    scores(q + head * head_dim, k + at, s, head_dim, count, scale);
    if (cap > 0) {
      for (int64_t p = 0; p < count; p += ES_VL) {
        const int64_t some = count - p < ES_VL ? count - p : ES_VL;
        store_some(s + p, some, ES_CAT(es_tanh, ES_VL, )(load_some(s + p, some, 0) / cap) * cap);
      }
    }
    float top = s[0], sum = 0;
    for (int64_t p = 1; p < count; p++) top = s[p] > top ? s[p] : top;
    vf sums = splat_vf(0);
    for (int64_t p = 0; p < whole; p += ES_VL) {
      const vf e = EXP(load_vf(s + p) - top);
      sums += e;
      store_vf(s + p, e);
    }
    if (whole < count) {  // what is beyond: exp(-inf) = 0
      const vf e = EXP(load_some(s + whole, count - whole, -__builtin_inff()) - top);
      sums += e;
      store_some(s + whole, count - whole, e);
    }
    sum = es_sum_vf(sums);
    int64_t i = 0;
    for (; i + 4 * ES_VL <= head_dim; i += 4 * ES_VL) weighted4(s, v + at + i, to + i, head_dim, count, 1 / sum);
    for (; i + ES_VL <= head_dim; i += ES_VL) weighted1(s, v + at + i, to + i, head_dim, count, 1 / sum);
    for (; i < head_dim; i++) {
      float f = 0;
      for (int64_t p = 0; p < count; p++) f += s[p] * v[at + p * head_dim + i];
      to[i] = f / sum;
    }
  }
}
