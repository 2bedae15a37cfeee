// Matrix times vector with weights of 8 bits by output, for every instruction set. What includes it has included the
// dot_qc8.h of its folder: products(w, q) are 32 products, added up in the lanes of P; PF: as many floats, and SUM_P
// adds those up.
#ifndef ES_ROWS_QC8_H
#define ES_ROWS_QC8_H

enum { GROUP = 32, SUMS = 4, AHEAD = 2048 };

// n: a multiple of 32.
ES_INLINE float row(const uint8_t *w, const uint8_t *next, const int8_t *q, const float *scale, int64_t n) {
  PF s[SUMS] = {0};
  int64_t i = 0;
  for (; i + SUMS * GROUP <= n; i += SUMS * GROUP) {
    const uint8_t *ahead = i + AHEAD < n ? w + i + AHEAD : next + (n < AHEAD ? i : i + AHEAD - n);
#pragma unroll
    for (int r = 0; r < SUMS; r++) {
      if (r % 2 == 0) es_ask(ahead + r * GROUP);
      const int64_t at = i + r * GROUP;
      s[r] += __builtin_convertvector(products(w + at, q + at), PF) * scale[at / GROUP];
    }
  }
  for (; i < n; i += GROUP) s[0] += __builtin_convertvector(products(w + i, q + i), PF) * scale[i / GROUP];
  return SUM_P(s[0] + s[1] + (s[2] + s[3]));
}
#endif
