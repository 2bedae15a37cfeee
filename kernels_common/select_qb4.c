// edgesparse-kernel: op=select dtype=qb4 isa=any
#include "quantise_group.h"

// The inputs i with |x[i]| > threshold[i] (threshold[0] where per_channel is 0), in blocks, quantised: entries
// start[b]..start[b+1]-1 of `index` and q are those of block b, padded to a multiple of 4 with index = the first input
// of the block and q = 0; x is about scale[b] * q, sum[b] the sum of q. count[0]: how many there are without padding.
//
// x: (n), finite. index, q: room for n rounded up to `block` (32 or 64); scale, sum: (n / block), start: one more.
void ES_KERNEL(select_qb4)(
    const float *x, const float *threshold, int32_t *index, int8_t *q, float *scale, int32_t *sum, int32_t *start,
    int32_t *count, int64_t n, int64_t block, int64_t per_channel) {
  int64_t used = 0, active = 0;
  for (int64_t b = 0; b * block < n; b++) {
    const int64_t from = b * block, to = from + block < n ? from + block : n;
    float value[64];
    int32_t found[64];
    int64_t here = 0;
    for (int64_t i = from; i < to; i++) {
      value[here] = x[i], found[here] = (int32_t)i;
      here += __builtin_fabsf(x[i]) > threshold[per_channel ? i : 0];
    }
    active += here;
    start[b] = (int32_t)used;
    int64_t entries = (here + 3) / 4 * 4;
    for (int64_t j = here; j < entries; j++) value[j] = 0, found[j] = (int32_t)from;
    for (int64_t j = 0; j < entries; j++) index[used + j] = found[j];
    es_quantise(value, q + used, scale + b, sum + b, entries);
    used += entries;
    start[b + 1] = (int32_t)used;
  }
  count[0] = (int32_t)active;
}
