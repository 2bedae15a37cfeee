// edgesparse-kernel: op=probe_read dtype=f32 isa=any
#include "es.h"

enum { VECTORS = 32, SUMS = 8, AHEAD_BYTES = 2048 };

// How fast a core can read: y = rounds * (the sum of x[0..floats-1]), floats a multiple of 512.
// x: at least (floats,), y: (1,).
void ES_KERNEL(probe_read_f32)(const float *x, float *y, int64_t floats, int64_t rounds) {
  vf sum[SUMS] = {0};
  for (int64_t r = 0; r < rounds; r++) {
    for (const float *at = x; at < x + floats; at += VECTORS * ES_VL)
#pragma unroll
      for (int i = 0; i < VECTORS; i++) {
        if (i * ES_VL % 16 == 0) es_ask((const char *)(at + i * ES_VL) + AHEAD_BYTES);
        sum[i % SUMS] += load_vf(at + i * ES_VL);
      }
    __asm__ volatile("" : : : "memory");  // the next round reads again
  }
  float total = 0;
  for (int i = 0; i < SUMS; i++)
    for (int lane = 0; lane < ES_VL; lane++) total += sum[i][lane];
  y[0] = total;
}
