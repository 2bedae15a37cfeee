// edgesparse-kernel: op=select dtype=qb4 isa=any
#include "quantise_group.h"
#if ES_VL == 16
#include <immintrin.h>
#endif

// One block: entries are written to index and q, scale[0] and sum[0]. Returns how many are active.
#if ES_VL == 16
// Nothing goes through memory, and no branch depends on how many there are. Entries are brought together as int32 at the
// end: there are instructions for it.
ES_INLINE int64_t one_block(
    const float *x, const float *threshold, int64_t from, int64_t to, int64_t per_channel, const int vectors,
    int32_t *index, int8_t *q, float *scale, int32_t *sum) {
  __m512 v[4];
  __mmask16 kept[4];
  __m512i most = _mm512_setzero_si512();  // floats that are not negative are in the order of their bits
  for (int k = 0; k < vectors; k++) {
    const int64_t i = from + 16 * k, left = to - i;
    const __mmask16 some = (__mmask16)(left >= 16 ? 0xffff : left > 0 ? (1 << left) - 1 : 0);
    v[k] = _mm512_maskz_loadu_ps(some, x + i);
    const __m512 t = per_channel ? _mm512_maskz_loadu_ps(some, threshold + i) : _mm512_set1_ps(threshold[0]);
    kept[k] = _mm512_mask_cmp_ps_mask(some, _mm512_abs_ps(v[k]), t, _CMP_GT_OQ);
    v[k] = _mm512_maskz_mov_ps(kept[k], v[k]);
    most = _mm512_max_epi32(most, _mm512_castps_si512(_mm512_abs_ps(v[k])));
  }
  const union { int32_t i; float f; } largest = {_mm512_reduce_max_epi32(most)};
  const float s = largest.f / 127;
  const vf divisor = splat_vf(s > 0 ? s : 1);
  const vi any = s > 0 ? (vi){} - 1 : (vi){};
  vi sums = {};
  int64_t here = 0;
  for (int k = 0; k < vectors; k++) {
    const vi n = es_nearest((vf)v[k] / divisor) & any;
    sums += n;
    const int count = __builtin_popcount(kept[k]);
    const __mmask16 entries = (__mmask16)((1 << count) - 1);
    const vi lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, at = lanes + (int32_t)(from + 16 * k);
    _mm512_mask_storeu_epi32(index + here, entries, _mm512_maskz_compress_epi32(kept[k], (__m512i)at));
    _mm512_mask_cvtepi32_storeu_epi8(q + here, entries, _mm512_maskz_compress_epi32(kept[k], (__m512i)n));
    here += count;
  }
  for (int64_t j = here; j % 4; j++) index[j] = index[j - 1], q[j] = 0;
  *scale = s, *sum = __builtin_reduce_add(sums);
  return here;
}
#else
ES_INLINE int64_t one_block(
    const float *x, const float *threshold, int64_t from, int64_t to, int64_t per_channel, const int vectors,
    int32_t *index, int8_t *q, float *scale, int32_t *sum) {
  float value[64 + 1];
  int32_t found[64 + 1];
  int8_t bytes[64];
  int64_t here = 0;
  for (int64_t i = from; i < to; i++) {
    value[here] = x[i], found[here] = (int32_t)i;
    here += __builtin_fabsf(x[i]) > threshold[per_channel ? i : 0];
  }
  for (int64_t j = here; j < 16 * vectors; j++) value[j] = 0;
  es_quantise(value, bytes, scale, sum, 16 * vectors);
  const int64_t entries = (here + 3) / 4 * 4;
  for (int64_t j = here; j < entries; j++) found[j] = found[here - 1];
  for (int64_t j = 0; j < entries; j += 4)
    for (int64_t i = j; i < j + 4; i++) index[i] = found[i], q[i] = bytes[i];
  return here;
}
#endif

// The inputs i with |x[i]| > threshold[i] (threshold[0] where per_channel is 0), in blocks, quantised: entries
// start[b]..start[b+1]-1 of `index` and q are those of block b, padded to a multiple of 4 with the last index once more,
// whose weights are read anyway, and q = 0; x is about scale[b] * q, sum[b] the sum of q. count[0]: how many there are
// without padding.
//
// x: (n), finite. index, q: room for n rounded up to `block` (32 or 64); scale, sum: (n / block), start: one more.
void ES_KERNEL(select_qb4)(
    const float *x, const float *threshold, int32_t *index, int8_t *q, float *scale, int32_t *sum, int32_t *start,
    int32_t *count, int64_t n, int64_t block, int64_t per_channel) {
  int64_t used = 0, active = 0;
  start[0] = 0;
  for (int64_t b = 0; b * block < n; b++) {
    const int64_t from = b * block, to = from + block < n ? from + block : n;
    int64_t here;
    if (block == 32)
      here = one_block(x, threshold, from, to, per_channel, 2, index + used, q + used, scale + b, sum + b);
    else here = one_block(x, threshold, from, to, per_channel, 4, index + used, q + used, scale + b, sum + b);
    active += here;
    used += (here + 3) / 4 * 4;
    start[b + 1] = (int32_t)used;
  }
  count[0] = (int32_t)active;
}
