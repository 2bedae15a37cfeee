// edgesparse-kernel: op=row dtype=qb4 isa=any
#include "es.h"

ES_INLINE float half(uint16_t h) {
  const union { uint32_t u; float f; } size = {(h & 0x7fffu) << 13}, sign = {(h & 0x8000u) << 16 | 0x3f800000};
  return size.f * 0x1p112f * sign.f;
}

// y[i] = w[row, i], i < columns, out of weights as dense_qb4 has them (whose inputs are `columns`): the embedding of a
// token where it is the head, too.
void ES_KERNEL(row_qb4)(
    const uint8_t *w, const uint16_t *wscale, float *y, int64_t row, int64_t columns, int64_t block) {
  const int64_t groups = (columns + 31) / 32, blocks = (columns + block - 1) / block, lane = row % 16;
  w += row / 16 * groups * 256 + 4 * lane;
  wscale += row / 16 * blocks * 16 + lane;
  for (int64_t i = 0; i < columns; i++) {
    const int64_t k = i % 32;
    const uint8_t both = w[i / 32 * 256 + k % 16 / 4 * 64 + k % 4];
    y[i] = (float)((k < 16 ? both & 15 : both >> 4) - 8) * half(wscale[i / block * 16]);
  }
}
