// Matrix times vector with weights of 8 bits by output, for every instruction set. What includes it has included the
// dot_qc8.h of its folder: products(w, q) are 32 products, added up in the lanes of P; PF: as many floats, and SUM_P
// adds those up.
#ifndef ES_ROWS_QC8_H
#define ES_ROWS_QC8_H

enum { GROUP = 32, ROWS = 4, STEP = 64 };

// y[r] = sum_g scale[g] sum_i w[r][i] q[i] for ROWS rows side by side; n: a multiple of 32. What lies in the same
// place of the next rows is asked for. From the end to the beginning, as columns_qc8 does. Always ROWS of
// them, the last one again where there are fewer: results do not depend on how rows are divided among threads.
ES_INLINE void some_rows(const uint8_t *const *w, const uint8_t *const *next, const int8_t *q, const float *scale,
                         int64_t n, float *y) {
  PF s[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; r++) s[r] = (PF){0};
  int64_t i = n;
  if (i % STEP) {
    i -= GROUP;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      es_ask(next[r] + i);
      s[r] += __builtin_convertvector(products(w[r] + i, q + i), PF) * scale[i / GROUP];
    }
  }
  while (i > 0) {
    i -= STEP;
#pragma unroll
    for (int r = 0; r < ROWS; r++) es_ask(next[r] + i);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      s[r] += __builtin_convertvector(products(w[r] + i, q + i), PF) * scale[i / GROUP];
      s[r] += __builtin_convertvector(products(w[r] + i + GROUP, q + i + GROUP), PF) * scale[i / GROUP + 1];
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++) y[r] = SUM_P(s[r]);
}
#endif
