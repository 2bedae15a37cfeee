// The kernel rows_qc8.
#include "rows_qc8.h"

enum { SUMS = 4, AHEAD_BYTES = 512 };

// As some_rows, for one row.
ES_INLINE float one_row(const uint8_t *w, const int8_t *q, const float *scale, int64_t n) {
  PF s[SUMS] = {0};
  int64_t i = 0;
  for (; i + SUMS * GROUP <= n; i += SUMS * GROUP)
#pragma unroll
    for (int k = 0; k < SUMS; k++) {
      const int64_t at = i + k * GROUP;
      if (k % 2 == 0) es_ask(w + at + AHEAD_BYTES);
      s[k] += __builtin_convertvector(products(w + at, q + at), PF) * scale[at / GROUP];
    }
  for (; i < n; i += GROUP) s[0] += __builtin_convertvector(products(w + i, q + i), PF) * scale[i / GROUP];
  return SUM_P((s[0] + s[1]) + (s[2] + s[3]));
}

// y[o] = bias[o] + wscale[o] sum_g scale[g] sum_i w[o, i] q[i] over the inputs i of group g, 32 each, for the outputs
// o = index[j] of entries begin..end-1; without index, o = j. w: (outputs, inputs rounded up to 32), bytes -127..127,
// on x86 with 128 added, zeros at the end of a row; q, scale, sum: as quantise_f32 gives them; wscale, bias (may be
// null), y: (outputs,), of which the others are not touched.
void ES_KERNEL(rows_qc8)(const uint8_t *w, const float *wscale, const float *bias, const int32_t *index,
                         const int8_t *q, const float *scale, const int32_t *sum, float *y, int64_t inputs,
                         int64_t begin, int64_t end) {
  (void)sum;
  const int64_t pitch = (inputs + GROUP - 1) / GROUP * GROUP;
  // All rows are one stream, which hardware sees: a Zen 4 reads 30 GB/s of it, 22 GB/s of four that lie side by side,
  // and 18 GB/s of one that is asked for too early.
  if (!index) {
    for (int64_t o = begin; o < end; o++)
      y[o] = one_row(w + o * pitch, q, scale, pitch) * wscale[o] + (bias ? bias[o] : 0);
    return;
  }
  for (int64_t j = begin; j < end; j += ROWS) {
    const uint8_t *row[ROWS], *next[ROWS];
    float some[ROWS];
    for (int64_t r = 0; r < ROWS; r++) {
      const int64_t here = j + r < end ? j + r : end - 1, after = here + ROWS < end ? here + ROWS : end - 1;
      row[r] = w + index[here] * pitch;
      next[r] = w + index[after] * pitch;
    }
    some_rows(row, next, q, scale, pitch, some);
#pragma clang loop unroll(disable)
    for (int64_t r = 0; r < ROWS && j + r < end; r++) {  // one piece of code: rounds the same wherever a part begins
      const int64_t o = index[j + r];
      y[o] = some[r] * wscale[o] + (bias ? bias[o] : 0);
    }
  }
}
