// edgesparse-kernel: op=quantise16 dtype=f32 isa=any
#include "quantise_group.h"

// Groups of 16 of value: (count), the last one padded with zeros: q about value / scale, see quantise_group.h; offset
// is -64 times the sum of q, which blocks_qb4 starts from. q: room for count rounded up to 32, all of which is written;
// scale, offset: (count / 16), rounded up.
void ES_KERNEL(quantise16_f32)(const float *value, int8_t *q, float *scale, int32_t *offset, int64_t count) {
  int64_t i = 0;
  for (; i < count; i += 16) {
    float last[16] = {0};
    for (int64_t j = i; j < count && count - i < 16; j++) last[j - i] = value[j];
    int32_t sum;
    es_quantise(count - i < 16 ? last : value + i, q + i, scale + i / 16, &sum, 16);
    offset[i / 16] = -64 * sum;
  }
  for (; i % 32; i++) q[i] = 0;
}
