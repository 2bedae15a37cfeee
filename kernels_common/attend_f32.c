// edgesparse-kernel: op=attend dtype=f32 isa=any
#include "math_f32.h"

#define EXP ES_CAT(es_exp, ES_VL, )

// So many heads that share keys and values are computed at once: what is read of the keys serves all of them. The sums of
// 4 heads and 4 keys need 16 registers, and there are 32.
#if ES_VL == 16 || defined(__aarch64__)
enum { AT_ONCE = 4 };
#else
enum { AT_ONCE = 2 };
#endif

// The first 4 lanes of a sum of parts of a vector, by halves as es_sum_vf does it.
ES_INLINE vf4 quarter1(vf1 v) { return (vf4){v[0], 0, 0, 0}; }
ES_INLINE vf4 quarter4(vf4 v) { return v; }
ES_INLINE vf4 quarter8(vf8 v) {
  return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
}
ES_INLINE vf4 quarter16(vf16 v) {
  return quarter8(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                  __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
}
#define quarter_vf ES_CAT(quarter, ES_VL, )

// The sums of all lanes of four vectors, each as es_sum_vf gives it; together they take half the instructions.
ES_INLINE vf4 four_sums(const vf *v) {
  const vf4 a = quarter_vf(v[0]), b = quarter_vf(v[1]), c = quarter_vf(v[2]), d = quarter_vf(v[3]);
  const vf4 ab = __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
  const vf4 cd = __builtin_shufflevector(c, d, 0, 1, 4, 5) + __builtin_shufflevector(c, d, 2, 3, 6, 7);
  return __builtin_shufflevector(ab, cd, 0, 2, 4, 6) + __builtin_shufflevector(ab, cd, 1, 3, 5, 7);
}

// to[h, p] = q[h] . k[p] scale; q: (heads, n), k: (count, n), to: (heads, count). Four keys at a time: so many sums that
// no product waits for the one before it.
ES_INLINE void scores(int heads, const float *q, const float *k, float *to, int64_t n, int64_t count, float scale) {
  int64_t p = 0;
  for (; p + 4 <= count; p += 4) {
    const float *key = k + p * n;
    vf s[AT_ONCE][4] = {0};
    vf4 rest[AT_ONCE] = {0};
    int64_t i = 0;
    _Pragma("nounroll") for (; i + ES_VL <= n; i += ES_VL)
      _Pragma("unroll") for (int h = 0; h < heads; h++)
        _Pragma("unroll") for (int r = 0; r < 4; r++) s[h][r] += load_vf(q + h * n + i) * load_vf(key + r * n + i);
    _Pragma("nounroll") for (; i < n; i++)
      _Pragma("unroll") for (int h = 0; h < heads; h++)
        rest[h] += q[h * n + i] * (vf4){key[i], key[n + i], key[2 * n + i], key[3 * n + i]};
    _Pragma("unroll") for (int h = 0; h < heads; h++) store4(to + h * count + p, (four_sums(s[h]) + rest[h]) * scale);
  }
  for (; p < count; p++)
    _Pragma("nounroll") for (int h = 0; h < heads; h++) {
      vf s = splat_vf(0);
      float rest = 0;
      int64_t i = 0;
      _Pragma("nounroll") for (; i + ES_VL <= n; i += ES_VL) s += load_vf(q + h * n + i) * load_vf(k + p * n + i);
      _Pragma("nounroll") for (; i < n; i++) rest += q[h * n + i] * k[p * n + i];
      to[h * count + p] = (es_sum_vf(s) + rest) * scale;
    }
}

// s = exp(cap(s) - the largest of them), cap(s) = cap tanh(s / cap) (0: s itself). Returns 1 / the sum of these. Once in
// the code, and not for every number of heads.
static __attribute__((noinline)) float weights(float *s, int64_t count, float cap) {
  const int64_t whole = count / ES_VL * ES_VL;
  if (cap > 0) {
    for (int64_t p = 0; p < count; p += ES_VL) {
      const int64_t some = count - p < ES_VL ? count - p : ES_VL;
      store_some(s + p, some, ES_CAT(es_tanh, ES_VL, )(load_some(s + p, some, 0) / cap) * cap);
    }
  }
  vf tops = splat_vf(s[0]), sums = splat_vf(0);
  for (int64_t p = 0; p < whole; p += ES_VL) {
    const vf x = load_vf(s + p);
    const vi larger = x > tops;
    tops = (vf)((larger & (vi)x) | (~larger & (vi)tops));
  }
  float top = tops[0];
  for (int i = 1; i < ES_VL; i++) top = tops[i] > top ? tops[i] : top;
  for (int64_t p = whole; p < count; p++) top = s[p] > top ? s[p] : top;
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
  return 1 / es_sum_vf(sums);
}

// to[h, 0..vectors * ES_VL - 1] = sum_p weight[h, p] v[p], times by[h]; rows of `to` and `v` are n apart.
ES_INLINE void weighted(int heads, int vectors, const float *weight, const float *v, float *to, int64_t n, int64_t count,
                        const float *by) {
  vf s[AT_ONCE][4] = {0};
  _Pragma("nounroll") for (int64_t p = 0; p < count; p++)
    _Pragma("unroll") for (int h = 0; h < heads; h++)
      _Pragma("unroll") for (int i = 0; i < vectors; i++) s[h][i] += load_vf(v + p * n + i * ES_VL) * weight[h * count + p];
  _Pragma("unroll") for (int h = 0; h < heads; h++)
    _Pragma("unroll") for (int i = 0; i < vectors; i++) store_vf(to + h * n + i * ES_VL, s[h][i] * by[h]);
}

ES_INLINE void attend(int heads, const float *q, const float *k, const float *v, float *y, float *s, int64_t n,
                      int64_t count, float scale, float cap) {
  float by[AT_ONCE];
  scores(heads, q, k, s, n, count, scale);
  for (int h = 0; h < heads; h++) by[h] = weights(s + h * count, count, cap);
  int64_t i = 0;
  for (; i + 4 * ES_VL <= n; i += 4 * ES_VL) weighted(heads, 4, s, v + i, y + i, n, count, by);
  for (; i + ES_VL <= n; i += ES_VL) weighted(heads, 1, s, v + i, y + i, n, count, by);
  for (; i < n; i++)
    _Pragma("nounroll") for (int h = 0; h < heads; h++) {
      float f = 0;
      _Pragma("nounroll") for (int64_t p = 0; p < count; p++) f += s[h * count + p] * v[p * n + i];
      y[h * n + i] = f * by[h];
    }
}

// y[h] = sum_p softmax_p(cap(q[h] . k[g, p] scale)) v[g, p], g = h / group, cap(s) = cap tanh(s / cap) (0: s itself), p
// over positions first..first+count-1, count >= 1. q, y: (heads, head_dim), y is not q; k, v: (heads / group, capacity,
// head_dim); scratch: (4, count), or (group, count) where the group is smaller. Heads begin..end-1 are computed.
void ES_KERNEL(attend_f32)(const float *q, const float *k, const float *v, float *y, float *scratch, int64_t begin,
                           int64_t end, int64_t group, int64_t head_dim, int64_t capacity, int64_t first, int64_t count,
                           float scale, float cap) {
  int64_t head = begin;
  while (head < end) {
    const int64_t at = (head / group * capacity + first) * head_dim, last = (head / group + 1) * group;
    const int64_t left = (end < last ? end : last) - head;
    const float *of = q + head * head_dim;
    float *to = y + head * head_dim;
    if (AT_ONCE == 4 && left >= 4) {
      attend(AT_ONCE, of, k + at, v + at, to, scratch, head_dim, count, scale, cap);
      head += 4;
    } else if (left >= 2) {
      attend(2, of, k + at, v + at, to, scratch, head_dim, count, scale, cap);
      head += 2;
    } else {
      attend(1, of, k + at, v + at, to, scratch, head_dim, count, scale, cap);
      head += 1;
    }
  }
}
