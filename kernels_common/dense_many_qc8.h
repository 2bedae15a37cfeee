// The body of dense_many_qc8, for every instruction set. The weights of GROUPS x 32 inputs for as many outputs as a few
// vectors hold stay in the first cache while the tokens of a slab pass; the next ones are asked for meanwhile.
#include "dense_qc8.h"

enum { GROUPS = 8, SLAB = 64, MOST = 4 };

// sum[t, ...] += the products of some groups, for `nt` tokens and `nv` vectors; every PANEL outputs are `pitch` bytes
// apart.
ES_INLINE void multiply(float (*sum)[MOST * LANES], const uint8_t *w, int64_t pitch, const int8_t *q,
                        const float *scale, const int32_t *total, int64_t groups, int64_t q_pitch, const int nt,
                        const int nv) {
  F f[TOKENS][MOST];
#pragma unroll
  for (int t = 0; t < nt; t++)
#pragma unroll
    for (int v = 0; v < nv; v++) f[t][v] = LOAD_F(sum[t] + v * LANES);
  for (int64_t g = 0; g < groups; g++, w += PART) {
    sums s[TOKENS][MOST];
    group x[TOKENS];
#pragma unroll
    for (int t = 0; t < nt; t++) {
      x[t] = prepare(q + t * q_pitch + g * ENTRIES, total[t * q_pitch / ENTRIES + g]);
#pragma unroll
      for (int v = 0; v < nv; v++) s[t][v] = none(&x[t]);
    }
#pragma clang loop unroll(disable)
    for (int k = 0; k < ENTRIES / 4; k += 2)
#pragma unroll
      for (int v = 0; v < nv; v++) {
        const uint8_t *at = w + v / VECTORS * pitch + k * QUAD + v % VECTORS * BYTES;
        const V a = load_v(at), b = load_v(at + QUAD);
#pragma unroll
        for (int t = 0; t < nt; t++) s[t][v] = pair(s[t][v], a, b, &x[t], k);
      }
#pragma unroll
    for (int t = 0; t < nt; t++)
#pragma unroll
      for (int v = 0; v < nv; v++)
        f[t][v] += __builtin_convertvector(lanes(s[t][v]), F) * scale[t * q_pitch / ENTRIES + g];
  }
#pragma unroll
  for (int t = 0; t < nt; t++)
#pragma unroll
    for (int v = 0; v < nv; v++) STORE_F(sum[t] + v * LANES, f[t][v]);
}

// Some of the weights of the next inputs: all of them, by the time that a few dozens of tokens have passed.
ES_INLINE void ask(const uint8_t *next, int64_t pitch, int64_t t, const int nv) {
  const int64_t lines = GROUPS * PART / 64, step = 8 * TOKENS / 2;
  const int64_t from = t / TOKENS * step;
  for (int64_t i = from; i < from + step && i < lines; i++)
    for (int p = 0; p < nv / VECTORS; p++) es_ask(next + p * pitch + i * 64);
}

// Outputs 0..own-1 of a slab, `nv` vectors of them. q, scale, sum and y are those of its first token.
ES_INLINE void slab(const uint8_t *w, const float *wscale, const float *bias, const int8_t *q, const float *scale,
                    const int32_t *sum, float *y, int64_t tokens, int64_t q_pitch, int64_t y_pitch, int64_t inputs,
                    int64_t own, const int nv) {
  const int64_t groups = (inputs + ENTRIES - 1) / ENTRIES, pitch = groups * PART;
  float total[SLAB][MOST * LANES];
  for (int64_t t = 0; t < tokens; t++)
#pragma unroll
    for (int v = 0; v < nv; v++) STORE_F(total[t] + v * LANES, (F){0});
  for (int64_t g = 0; g < groups; g += GROUPS) {
    const int64_t count = groups - g < GROUPS ? groups - g : GROUPS;
    const uint8_t *at = w + g * PART, *next = at + count * PART;
    int64_t t = 0;
    for (; t + TOKENS <= tokens; t += TOKENS) {
      const int64_t first = t * q_pitch / ENTRIES + g;
      ask(next, pitch, t, nv);
      multiply(total + t, at, pitch, q + t * q_pitch + g * ENTRIES, scale + first, sum + first, count, q_pitch, TOKENS,
               nv);
    }
    for (; t < tokens; t++) {
      const int64_t first = t * q_pitch / ENTRIES + g;
      multiply(total + t, at, pitch, q + t * q_pitch + g * ENTRIES, scale + first, sum + first, count, q_pitch, 1, nv);
    }
  }
  for (int64_t t = 0; t < tokens; t++) finish(y + t * y_pitch, total[t], wscale, bias, own);
}

// y[t, o] = bias[o] + wscale[o] sum_g scale[t, g] sum_i w[o, i] q[t, i] over the inputs i of group g. q: (tokens,
// q_pitch), a multiple of 32; scale, sum: (tokens, q_pitch / 32); y: (tokens, y_pitch); w, wscale and bias as those of
// dense_qc8. Panels begin..end-1 are computed, ceil(outputs / 16) in all.
void ES_KERNEL(dense_many_qc8)(const uint8_t *w, const float *wscale, const float *bias, const int8_t *q,
                               const float *scale, const int32_t *sum, float *y, int64_t tokens, int64_t q_pitch,
                               int64_t y_pitch, int64_t inputs, int64_t outputs, int64_t begin, int64_t end) {
  const int64_t pitch = (inputs + ENTRIES - 1) / ENTRIES * PART;
  for (int64_t p = begin; p < end;) {
    const int64_t many = (end - p) * VECTORS >= MOST, o = p * PANEL, left = outputs - o;
    const int64_t width = many ? MOST * LANES : PANEL, own = left < width ? left : width;
    const float *with = bias ? bias + o : 0;
    for (int64_t t = 0; t < tokens; t += SLAB) {
      const int64_t at = t * q_pitch / ENTRIES, some = tokens - t < SLAB ? tokens - t : SLAB;
      const int8_t *x = q + t * q_pitch;
      float *to = y + t * y_pitch + o;
      if (many)
        slab(w + p * pitch, wscale + o, with, x, scale + at, sum + at, to, some, q_pitch, y_pitch, inputs, own, MOST);
      else
        slab(w + p * pitch, wscale + o, with, x, scale + at, sum + at, to, some, q_pitch, y_pitch, inputs, own, VECTORS);
    }
    p += width / PANEL;
  }
}
