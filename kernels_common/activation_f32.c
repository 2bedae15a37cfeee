// edgesparse-kernel: op=activation dtype=f32 isa=any
#include "activation_f32.h"

// y[i] = activation `act` of x[i]; x and y: (size), y may be x.
void ES_KERNEL(activation_f32)(const float *x, float *y, int64_t size, int64_t act, float lo, float hi) {
  int64_t i = 0;
  for (; i + ES_VL <= size; i += ES_VL) store_vf(y + i, ES_CAT(es_act, ES_VL, )(load_vf(x + i), act, lo, hi));
  for (; i < size; i++) store1(y + i, es_act1(load1(x + i), act, lo, hi));
}
