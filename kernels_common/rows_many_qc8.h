// The kernel rows_many_qc8.
#include "rows_qc8.h"

enum { TOGETHER = 16 };  // rows that lie in the cache while all tokens pass

// y[t, o] = bias[o] + wscale[o] sum_g scale[t, g] sum_i w[o, i] q[t, i] over the inputs i of group g, for outputs
// begin..end-1, all of them. q: (tokens, q_pitch), a multiple of 32; scale, sum: (tokens, q_pitch / 32); y: (tokens,
// y_pitch). w, wscale and bias as those of rows_qc8.
void ES_KERNEL(rows_many_qc8)(const uint8_t *w, const float *wscale, const float *bias, const int8_t *q,
                              const float *scale, const int32_t *sum, float *y, int64_t tokens, int64_t q_pitch,
                              int64_t y_pitch, int64_t inputs, int64_t begin, int64_t end) {
  (void)sum;
  const int64_t pitch = (inputs + GROUP - 1) / GROUP * GROUP;
  for (int64_t from = begin; from < end; from += TOGETHER) {
    const int64_t to = from + TOGETHER < end ? from + TOGETHER : end;
    for (int64_t t = 0; t < tokens; t++)
      for (int64_t o = from; o < to; o += ROWS) {
        const int64_t count = to - o < ROWS ? to - o : ROWS;
        const int8_t *x = q + t * q_pitch;
        const float *by = scale + t * q_pitch / GROUP;
        const uint8_t *row[ROWS];
        float some[ROWS];
        for (int64_t r = 0; r < ROWS; r++) row[r] = w + (r < count ? o + r : to - 1) * pitch;
        some_rows(row, row, x, by, pitch, some);
        for (int64_t r = 0; r < count; r++)
          y[t * y_pitch + o + r] = some[r] * wscale[o + r] + (bias ? bias[o + r] : 0);
      }
  }
}
