// edgesparse-kernel: op=row dtype=qc8 isa=any
#include "es.h"

// y[i] = wscale[row] * w[row, i], i < columns, out of weights as dense_qc8 has them (whose inputs are `columns`): bytes
// with a sign, on x86 128 more.
void ES_KERNEL(row_qc8)(const uint8_t *w, const float *wscale, float *y, int64_t row, int64_t columns) {
#if defined(__x86_64__)
  const int32_t flip = 0x80;
#else
  const int32_t flip = 0;
#endif
  w += row / 16 * 16 * ((columns + 31) / 32 * 32) + row % 16 * 4;
  for (int64_t i = 0; i < columns; i++) y[i] = wscale[row] * (float)(int8_t)(w[i / 4 * 64 + i % 4] ^ flip);
}
