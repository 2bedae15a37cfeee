// edgesparse-kernel: op=resample dtype=f32 isa=any
#include "es.h"

// y[o, i, n] = sum_t weight[i, t] x[o, index[i, t], n]; x: (outer, size, inner), y: (outer, count, inner),
// index and weight: (count, taps). y does not overlap x.
void ES_KERNEL(resample_f32)(const float *x, const int32_t *index, const float *weight, float *y, int64_t outer,
                             int64_t size, int64_t count, int64_t inner, int64_t taps) {
  for (int64_t o = 0; o < outer; o++, x += size * inner)
    for (int64_t i = 0; i < count; i++, y += inner) {
      const int32_t *at = index + i * taps;
      const float *w = weight + i * taps;
      int64_t n = 0;
      for (; n + ES_VL <= inner; n += ES_VL) {
        vf sum = splat_vf(w[0]) * load_vf(x + at[0] * inner + n);
        for (int64_t t = 1; t < taps; t++) sum += splat_vf(w[t]) * load_vf(x + at[t] * inner + n);
        store_vf(y + n, sum);
      }
      for (; n < inner; n++) {
        float sum = w[0] * x[at[0] * inner + n];
        for (int64_t t = 1; t < taps; t++) sum += w[t] * x[at[t] * inner + n];
        y[n] = sum;
      }
    }
}
