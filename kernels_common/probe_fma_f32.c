// edgesparse-kernel: op=probe_fma dtype=f32 isa=any
#include "es.h"

// Independent sums, enough to hide the latency of a multiply-add, all in registers: there are 32 of them, or 16.
#if ES_VL == 16 || defined(__aarch64__)
enum { CHAINS = 24 };
#else
enum { CHAINS = 12 };
#endif

// What a core can compute at most: s = x[0] * s + x[1] for many s between 0 and 1, 384 * rounds times in all; y is the
// mean of what they have become. |x[0]| < 1 has them meet at x[1] / (1 - x[0]).
// x: (2,), y: (1,).
void ES_KERNEL(probe_fma_f32)(const float *x, float *y, int64_t rounds) {
  const vf factor = splat_vf(x[0]), term = splat_vf(x[1]);
  const int64_t times = 384 / (CHAINS * ES_VL) * rounds;
  vf sum[CHAINS];
#pragma unroll
  for (int i = 0; i < CHAINS; i++) sum[i] = splat_vf((float)i / CHAINS);
  for (int64_t r = 0; r < times; r++)
#pragma unroll
    for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * factor + term;
  float all = 0;
  for (int i = 0; i < CHAINS; i++)
    for (int lane = 0; lane < ES_VL; lane++) all += sum[i][lane];
  y[0] = all / (CHAINS * ES_VL);
}
