// edgesparse-kernel: op=select dtype=f32 isa=avx2,sse2,scalar,neon,simd128,relaxed
#include "es.h"

// index[j], value[j] = i, x[i] for all i with |x[i]| > threshold[per_channel ? i : 0], in order; count[0] = how many.
// Behind them zeros, up to n rounded up to 32: what reads entries in groups may read on. x, threshold: finite.
// No branch depends on x: half of the inputs being active would be the worst case of one.
void ES_KERNEL(select_f32)(const float *x, const float *threshold, int32_t *index, float *value, int32_t *count,
                           int64_t n, int64_t per_channel) {
  int64_t found = 0;
  const int64_t step = per_channel != 0, room = (n + 31) / 32 * 32;
  for (int64_t i = 0; i < n; i++) {
    index[found] = (int32_t)i;
    value[found] = x[i];
    found += __builtin_fabsf(x[i]) > threshold[i * step];
  }
  count[0] = (int32_t)found;
  for (int64_t j = found; j < room; j++) index[j] = 0, value[j] = 0;
}
