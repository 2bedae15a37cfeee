// Products of bytes without instructions for them; weights are stored as w + 128. As in kernels_x86/dot_qc8.h.
#ifndef ES_DOT_QC8_H
#define ES_DOT_QC8_H
#include "es.h"

enum { BYTES = 16, WIDE = 1, TOKENS = 1 };
typedef uint8_t V __attribute__((vector_size(16)));
typedef vi4 I;
typedef vf4 F;
ES_INLINE V load_v(const uint8_t *p) {
  typedef uint8_t any __attribute__((vector_size(16), aligned(1)));
  return *(const any *)p;
}
ES_INLINE V load_piece(const uint8_t *p) { return load_v(p); }
#define LOAD_F load4
#define STORE_F store4

typedef struct { const int8_t *q; int32_t start; } group;
ES_INLINE group prepare(const int8_t *q, int32_t sum) { return (group){q, -128 * sum}; }
ES_INLINE void four(I *sum, V a, V b, V c, V d, const group *g, int k) {
  const int8_t *q = g->q + 4 * k;
  for (int i = 0; i < 4; i++)
    for (int j = 0, o = 4 * i; j < 4; j++, o++) sum[i][j] += a[o] * q[0] + b[o] * q[1] + c[o] * q[2] + d[o] * q[3];
}

// Interleaved weights: quads k and k+1.
typedef I sums;
ES_INLINE sums none(const group *g) { return (I){} + g->start; }
ES_INLINE sums pair(sums s, V a, V b, const group *g, int k) {
  const int8_t *q = g->q + 4 * k;
  for (int i = 0; i < 4; i++)
    for (int r = 0; r < 4; r++) s[i] += a[4 * i + r] * q[r] + b[4 * i + r] * q[4 + r];
  return s;
}
ES_INLINE I lanes(sums s) { return s; }

// 32 products of one output.
typedef vi1 P;
typedef vf1 PF;
#define SUM_P es_sum1
ES_INLINE P products(const uint8_t *w, const int8_t *q) {
  P sum = {0};
  for (int i = 0; i < 32; i++) sum[0] += (w[i] - 128) * q[i];
  return sum;
}
#endif
