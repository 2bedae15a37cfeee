// The body of dense_qc8, for every instruction set.
#include "dense_qc8.h"

// All panels are one stream, which hardware sees: a Zen 4 reads as fast without being asked for more, and slower if it is
// asked too early: 2 KB ahead by 15%, 4 KB by a third, with vectors of 256 bits. Cores in order do not run ahead.
enum { AHEAD_BYTES = 1024 };

ES_INLINE void add_group(F *f, const uint8_t *w, const group *x, float scale) {
  sums s[VECTORS];
#pragma unroll
  for (int v = 0; v < VECTORS; v++) s[v] = none(x);
#pragma unroll
  for (int k = 0; k < ENTRIES / 4; k += 2) {
    const uint8_t *at = w + k * QUAD;
    es_ask(at + AHEAD_BYTES), es_ask(at + QUAD + AHEAD_BYTES);
#pragma unroll
    for (int v = 0; v < VECTORS; v++)
      s[v] = pair(s[v], load_v(at + v * BYTES), load_v(at + QUAD + v * BYTES), x, k);
  }
#pragma unroll
  for (int v = 0; v < VECTORS; v++) f[v] += __builtin_convertvector(lanes(s[v]), F) * scale;
}

// y[o] = bias[o] + wscale[o] sum_g scale[g] sum_i w[o, i] q[i] over the inputs i of group g, 32 each, for panels of 16
// outputs begin..end-1, ceil(outputs / 16) in all. w: (outputs / 16, inputs / 4, 16, 4), both counts rounded up, to 16
// and to 32: bytes -127..127, on x86 with 128 added, zeros at the ends; byte [k, o, r] is input 4k+r of output o. q,
// scale, sum: as quantise_f32 gives them; wscale, bias (may be null), y: (outputs,).
void ES_KERNEL(dense_qc8)(const uint8_t *w, const float *wscale, const float *bias, const int8_t *q, const float *scale,
                          const int32_t *sum, float *y, int64_t inputs, int64_t outputs, int64_t begin, int64_t end) {
  const int64_t groups = (inputs + ENTRIES - 1) / ENTRIES;
  const uint8_t *at = w + begin * groups * PART;
  for (int64_t p = begin; p < end; p++) {
    F f[VECTORS] = {0};
    for (int64_t g = 0; g < groups; g++, at += PART) {
      const group x = prepare(q + g * ENTRIES, sum[g]);
      add_group(f, at, &x, scale[g]);
    }
    const int64_t o = p * PANEL;
    float total[PANEL];
#pragma unroll
    for (int v = 0; v < VECTORS; v++) STORE_F(total + v * LANES, f[v]);
    finish(y + o, total, wscale + o, bias ? bias + o : 0, outputs - o < PANEL ? outputs - o : PANEL);
  }
}
