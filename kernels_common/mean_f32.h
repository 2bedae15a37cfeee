// The mean of a row of floats.
#ifndef ES_MEAN_F32_H
#define ES_MEAN_F32_H
#include "es.h"

// Of the first `count` floats at p; the ES_VL behind them are loaded, but not used: zeros that were stored there first
// would make the load wait for the store (6 times as slow). Four sums hide the latency of the additions.
ES_INLINE float es_mean(const float *p, int64_t count) {
  vf sum[4] = {};
  vi lane;
  int64_t i = 0;
  for (; i + 4 * ES_VL <= count; i += 4 * ES_VL)
#pragma unroll
    for (int c = 0; c < 4; c++) sum[c] += load_vf(p + i + c * ES_VL);
  for (; i + ES_VL <= count; i += ES_VL) sum[1] += load_vf(p + i);
#pragma unroll
  for (int k = 0; k < ES_VL; k++) lane[k] = k;
  sum[0] += (vf)((vi)load_vf(p + i) & (lane < (int32_t)(count - i) - (vi){}));
  return es_sum_vf((sum[0] + sum[1]) + (sum[2] + sum[3])) / (float)count;
}
#endif
