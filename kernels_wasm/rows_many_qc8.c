// edgesparse-kernel: op=rows_many dtype=qc8 isa=simd128,relaxed
#include "rows_wasm_qc8.h"

enum { TOGETHER = 16 };  // rows that lie in the cache while all tokens pass

// As in kernels_common/rows_many_qc8.h.
void ES_KERNEL(rows_many_qc8)(
    const uint8_t *w, const float *wscale, const float *bias, const int8_t *q, const float *scale, const int32_t *sum,
    float *y, int64_t tokens, int64_t q_pitch, int64_t y_pitch, int64_t inputs, int64_t begin, int64_t end) {
  const int64_t pitch = (inputs + ENTRIES - 1) / ENTRIES * ENTRIES, apart = q_pitch / ENTRIES;
  const way how = es_way();
  for (int64_t from = begin; from < end; from += TOGETHER) {
    const int64_t to = from + TOGETHER < end ? from + TOGETHER : end;
    for (int64_t t = 0; t < tokens; t++)
      for (int64_t o = from; o < to; o += SIDE) {
        const uint8_t *row[SIDE];
        float some[SIDE];
        for (int64_t r = 0; r < SIDE; r++) row[r] = w + (o + r < to ? o + r : to - 1) * pitch;
        const int8_t *x = q + t * q_pitch;
        if (how == IN_WORDS) some_rows(row, x, scale + t * apart, sum + t * apart, pitch, some, how, 1, SIDE);
        else some_rows(row, x, scale + t * apart, sum + t * apart, pitch, some, how, 0, SIDE);
#pragma clang loop unroll(disable)
        for (int64_t r = 0; r < SIDE && o + r < to; r++)
          y[t * y_pitch + o + r] = some[r] * wscale[o + r] + (bias ? bias[o + r] : 0);
      }
  }
}
