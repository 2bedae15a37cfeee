// 128 outputs out of weights by input: 64 bytes of each of 4 rows (inputs) become vectors of 4 bytes an output.
//
// Byte 16l+4k+r of a row holds outputs 16k+4l+r and (upper nibble) 64 more: interleaving within 16 bytes, which is all
// that most instruction sets have, leaves neighbours side by side, however wide a vector is.
#ifndef ES_COLUMNS_QB4_H
#define ES_COLUMNS_QB4_H
#include "qb4.h"

enum { ES_PARTS = 16 / ES_VL };  // vectors in 64 bytes

// The first output of vector k of part m.
ES_INLINE int es_output(int k, int m) { return ES_VL == 1 ? 16 * (m % 4) + m / 4 * 4 + k : 16 * k + ES_VL * m; }

// u[k][4i..4i+3] = rows a, b, c, d of output es_output(k, m) + i (ES_VL 1: of output es_output(k, m))
ES_INLINE void interleave(vb a, vb b, vb c, vb d, vb *u) {
#if ES_VL == 1
  for (int k = 0; k < 4; k++) u[k] = (vb){a[k], b[k], c[k], d[k]};
#else
#if ES_VL == 16
#define LOW(x, y, n) (vb)_mm512_unpacklo_epi##n((__m512i)(x), (__m512i)(y))
#define HIGH(x, y, n) (vb)_mm512_unpackhi_epi##n((__m512i)(x), (__m512i)(y))
#elif ES_VL == 8
#define LOW(x, y, n) (vb)_mm256_unpacklo_epi##n((__m256i)(x), (__m256i)(y))
#define HIGH(x, y, n) (vb)_mm256_unpackhi_epi##n((__m256i)(x), (__m256i)(y))
#else
#define LOW(x, y, n) LOW##n(x, y)
#define HIGH(x, y, n) HIGH##n(x, y)
#define LOW8(x, y) __builtin_shufflevector(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH8(x, y) __builtin_shufflevector(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#define LOW16(x, y) __builtin_shufflevector(x, y, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23)
#define HIGH16(x, y) __builtin_shufflevector(x, y, 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31)
#endif
  const vb ab = LOW(a, b, 8), cd = LOW(c, d, 8), ab_ = HIGH(a, b, 8), cd_ = HIGH(c, d, 8);
  u[0] = LOW(ab, cd, 16), u[1] = HIGH(ab, cd, 16), u[2] = LOW(ab_, cd_, 16), u[3] = HIGH(ab_, cd_, 16);
#endif
}

// Sums of ES_VL outputs of each k, of both nibbles.
typedef struct { vs low[4], high[4]; } es_sums;
#if ES_HIGH
// `low` is of whole bytes, upper nibbles included: they need not be cut off, and are subtracted once. `sum` is that of
// all q that are added. High sums are 2^ES_HIGH times as large.
ES_INLINE es_sums no_sums(int32_t sum) {
  es_sums s;
  for (int k = 0; k < 4; k++) s.high[k] = splat_vi(-8 * sum << ES_HIGH), s.low[k] = s.high[k] - 8 * sum;
  return s;
}
ES_INLINE vi low_sum(const es_sums *s, int k, int32_t sum) {
  (void)sum;
  return s->low[k] - s->high[k];
}
ES_INLINE vi high_sum(const es_sums *s, int k, int32_t sum) {
  (void)sum;
  return s->high[k];
}
#define ES_LOW(w) (w)
#else
ES_INLINE es_sums no_sums(int32_t sum) {
  (void)sum;
  return (es_sums){0};
}
ES_INLINE vi low_sum(const es_sums *s, int k, int32_t sum) { return lanes(s->low[k]) - splat_vi(8 * sum); }
ES_INLINE vi high_sum(const es_sums *s, int k, int32_t sum) { return lanes(s->high[k]) - splat_vi(8 * sum); }
#define ES_LOW low_nibbles
#endif

// The products of `at` bytes into 4 rows with their 4 activations.
ES_INLINE void add_quad(es_sums *s, const uint8_t *const *row, int64_t at, const int8_t *q) {
  vb u[4];
  interleave(load_vb(row[0] + at), load_vb(row[1] + at), load_vb(row[2] + at), load_vb(row[3] + at), u);
  const vb x = splat_quad(q);
  for (int k = 0; k < 4; k++) {
    s->low[k] = dot(s->low[k], ES_LOW(u[k]), x);
    s->high[k] = dot(s->high[k], high_nibbles(u[k]), x);
  }
}
#endif
