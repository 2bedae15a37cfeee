// edgesparse-kernel: op=gated dtype=f32 isa=any
#include "activation_f32.h"

// y[j] = act(gate[j]) up[index[j]]; without index up[j], without `up` the activation alone. gate, y: (size,), y may be
// gate, and up where there is no index. Spans begin..end-1 are computed.
void ES_KERNEL(gated_f32)(const float *gate, const float *up, const int32_t *index, float *y, int64_t begin,
                          int64_t end, int64_t size, int64_t act) {
  const int64_t first = begin * ES_SPAN, last = end * ES_SPAN < size ? end * ES_SPAN : size;
  for (int64_t j = first; j < last; j += ES_VL) {
    const int64_t count = last - j < ES_VL ? last - j : ES_VL;
    vf v = ES_CAT(es_act, ES_VL, )(load_some(gate + j, count, 0), act, 0, 0);
    if (up && index) {
      vf u = splat_vf(0);
      for (int64_t i = 0; i < count; i++) u[i] = up[index[j + i]];
      v *= u;
    } else if (up) {
      v *= load_some(up + j, count, 0);
    }
    store_some(y + j, count, v);
  }
}
