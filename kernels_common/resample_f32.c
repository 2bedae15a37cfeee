// edgesparse-kernel: op=resample dtype=f32 isa=any
#include "es.h"

// y[o, i, n] = sum_t weight[i, t] x[o, index[i, t], n]; x: (outer, size, inner), y: (outer, count, inner),
// index and weight: (count, taps). y does not overlap x. Rows begin..end-1 of y are computed, outer * count in all.
void ES_KERNEL(resample_f32)(const float *x, const int32_t *index, const float *weight, float *y, int64_t begin,
                             int64_t end, int64_t size, int64_t count, int64_t inner, int64_t taps) {
  for (int64_t row = begin; row < end; row++) {
    const float *in = x + row / count * size * inner, *w = weight + row % count * taps;
    const int32_t *at = index + row % count * taps;
    float *out = y + row * inner;
    int64_t n = 0;
    for (; n + ES_VL <= inner; n += ES_VL) {
      vf sum = splat_vf(w[0]) * load_vf(in + at[0] * inner + n);
      for (int64_t t = 1; t < taps; t++) sum += splat_vf(w[t]) * load_vf(in + at[t] * inner + n);
      store_vf(out + n, sum);
    }
    for (; n < inner; n++) {
      float sum = w[0] * in[at[0] * inner + n];
      for (int64_t t = 1; t < taps; t++) sum += w[t] * in[at[t] * inner + n];
      out[n] = sum;
    }
  }
}
