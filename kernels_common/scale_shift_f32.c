// edgesparse-kernel: op=scale_shift dtype=f32 isa=any
#include "es.h"

// y[o, c, k] = x[o, c, k] a[c] + b[c]; x, y: (outer, channels, inner), a, b: (channels); y may be x.
void ES_KERNEL(scale_shift_f32)(const float *x, const float *a, const float *b, float *y, int64_t outer,
                                int64_t channels, int64_t inner) {
  for (int64_t o = 0; o < outer; o++) {
    if (inner == 1) {
      int64_t c = 0;
      for (; c + ES_VL <= channels; c += ES_VL) store_vf(y + c, load_vf(x + c) * load_vf(a + c) + load_vf(b + c));
      for (; c < channels; c++) y[c] = x[c] * a[c] + b[c];
      x += channels, y += channels;
      continue;
    }
    for (int64_t c = 0; c < channels; c++, x += inner, y += inner) {
      const float scale = a[c], shift = b[c];
      int64_t k = 0;
      for (; k + ES_VL <= inner; k += ES_VL) store_vf(y + k, load_vf(x + k) * scale + shift);
      for (; k < inner; k++) y[k] = x[k] * scale + shift;
    }
  }
}
