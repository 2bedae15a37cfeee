// The kernel rows_qc8.
#include "rows_qc8.h"

// y[o] = bias[o] + wscale[o] sum_g scale[g] sum_i w[o, i] q[i] over the inputs i of group g, 32 each, for the outputs
// o = index[j] of entries begin..end-1; without index, o = j. w: (outputs, inputs rounded up to 32), bytes -127..127,
// on x86 with 128 added, zeros at the end of a row; q, scale, sum: as quantise_f32 gives them; wscale, bias (may be
// null), y: (outputs,), of which the others are not touched.
void ES_KERNEL(rows_qc8)(const uint8_t *w, const float *wscale, const float *bias, const int32_t *index,
                         const int8_t *q, const float *scale, const int32_t *sum, float *y, int64_t inputs,
                         int64_t begin, int64_t end) {
  (void)sum;
  const int64_t pitch = (inputs + GROUP - 1) / GROUP * GROUP;
  for (int64_t j = begin; j < end; j += ROWS) {
    const uint8_t *row[ROWS], *next[ROWS];
    float some[ROWS];
    for (int64_t r = 0; r < ROWS; r++) {
      const int64_t here = j + r < end ? j + r : end - 1, after = here + ROWS < end ? here + ROWS : end - 1;
      row[r] = w + (index ? index[here] : here) * pitch;
      next[r] = w + (index ? index[after] : after) * pitch;
    }
    some_rows(row, next, q, scale, pitch, some);
    for (int64_t r = 0; r < ROWS && j + r < end; r++) {
      const int64_t o = index ? index[j + r] : j + r;
      y[o] = some[r] * wscale[o] + (bias ? bias[o] : 0);
    }
  }
}
