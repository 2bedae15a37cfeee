// edgesparse-kernel: op=scale_shift dtype=f32 isa=any
#include "es.h"

// y[o, c, k] = x[o, c, k] a[c] + b[c]; x, y: (outer, channels, inner), a, b: (channels); y may be x.
// Strips begin..end-1 are computed: a channel, or where inner is 1, 64 of them; outer * channels or
// outer * ceil(channels / 64) in all.
void ES_KERNEL(scale_shift_f32)(const float *x, const float *a, const float *b, float *y, int64_t begin, int64_t end,
                                int64_t channels, int64_t inner) {
  const int64_t strips = inner == 1 ? (channels + ES_SPAN - 1) / ES_SPAN : channels;
  for (int64_t s = begin; s < end; s++) {
    const int64_t at = s / strips * channels * inner;
    if (inner == 1) {
      int64_t c = s % strips * ES_SPAN;
      const int64_t last = c + ES_SPAN < channels ? c + ES_SPAN : channels;
      for (; c + ES_VL <= last; c += ES_VL) store_vf(y + at + c, load_vf(x + at + c) * load_vf(a + c) + load_vf(b + c));
      for (; c < last; c++) y[at + c] = x[at + c] * a[c] + b[c];
      continue;
    }
    const float *in = x + at + s % strips * inner;
    const float scale = a[s % strips], shift = b[s % strips];
    float *out = y + at + s % strips * inner;
    int64_t k = 0;
    for (; k + ES_VL <= inner; k += ES_VL) store_vf(out + k, load_vf(in + k) * scale + shift);
    for (; k < inner; k++) out[k] = in[k] * scale + shift;
  }
}
