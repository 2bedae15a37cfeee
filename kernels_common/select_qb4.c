// edgesparse-kernel: op=select dtype=qb4 isa=any
#include "quantise_group.h"
#if ES_VL == 16
#include <immintrin.h>
#endif

// Appends x[from..to-1] above their thresholds to value and found, which have room for 16 more; returns how many.
ES_INLINE int64_t above(
    const float *x, const float *threshold, int64_t from, int64_t to, int64_t per_channel, float *value,
    int32_t *found) {
  int64_t here = 0;
#if ES_VL == 16
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (int64_t i = from; i < to; i += 16) {
    const __mmask16 some = (__mmask16)(to - i >= 16 ? 0xffff : (1 << (to - i)) - 1);
    const __m512 v = _mm512_maskz_loadu_ps(some, x + i);
    const __m512 t = per_channel ? _mm512_maskz_loadu_ps(some, threshold + i) : _mm512_set1_ps(threshold[0]);
    const __mmask16 kept = _mm512_mask_cmp_ps_mask(some, _mm512_abs_ps(v), t, _CMP_GT_OQ);
    _mm512_storeu_ps(value + here, _mm512_maskz_compress_ps(kept, v));
    const __m512i at = _mm512_add_epi32(lanes, _mm512_set1_epi32((int32_t)i));
    _mm512_storeu_si512(found + here, _mm512_maskz_compress_epi32(kept, at));
    here += __builtin_popcount(kept);
  }
#else
  for (int64_t i = from; i < to; i++) {
    value[here] = x[i], found[here] = (int32_t)i;
    here += __builtin_fabsf(x[i]) > threshold[per_channel ? i : 0];
  }
#endif
  return here;
}

// The inputs i with |x[i]| > threshold[i] (threshold[0] where per_channel is 0), in blocks, quantised: entries
// start[b]..start[b+1]-1 of `index` and q are those of block b, padded to a multiple of 4 with index = the first input
// of the block and q = 0; x is about scale[b] * q, sum[b] the sum of q. count[0]: how many there are without padding.
//
// x: (n), finite. index, q: room for n rounded up to `block` (32 or 64); scale, sum: (n / block), start: one more.
void ES_KERNEL(select_qb4)(
    const float *x, const float *threshold, int32_t *index, int8_t *q, float *scale, int32_t *sum, int32_t *start,
    int32_t *count, int64_t n, int64_t block, int64_t per_channel) {
  int64_t used = 0, active = 0;
  start[0] = 0;
  for (int64_t b = 0; b * block < n; b++) {
    const int64_t from = b * block, to = from + block < n ? from + block : n;
    float value[64 + 16];
    int32_t found[64 + 16];
    int8_t bytes[64];
    const int64_t here = above(x, threshold, from, to, per_channel, value, found);
    active += here;
    const int64_t entries = (here + 3) / 4 * 4;
    for (int64_t j = here; j < block; j++) value[j] = 0;
    for (int64_t j = here; j < entries; j++) found[j] = (int32_t)from;
    if (block == 32) es_quantise(value, bytes, scale + b, sum + b, 32);
    else es_quantise(value, bytes, scale + b, sum + b, 64);
    for (int64_t j = 0; j < entries; j += 4)
      for (int64_t i = j; i < j + 4; i++) index[used + i] = found[i], q[used + i] = bytes[i];
    used += entries;
    start[b + 1] = (int32_t)used;
  }
  count[0] = (int32_t)active;
}
