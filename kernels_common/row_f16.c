// edgesparse-kernel: op=row dtype=f16 isa=any
#include "es.h"

// y[i] = w[row, i], i < columns; w: (rows, columns), halves, of any value but NaN and infinities.
void ES_KERNEL(row_f16)(const uint16_t *w, float *y, int64_t row, int64_t columns) {
  w += row * columns;
  for (int64_t i = 0; i < columns; i++) {
    const union { uint32_t u; float f; } size = {(w[i] & 0x7fffu) << 13}, sign = {(w[i] & 0x8000u) << 16 | 0x3f800000};
    y[i] = size.f * 0x1p112f * sign.f;
  }
}
