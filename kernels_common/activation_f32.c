// edgesparse-kernel: op=activation dtype=f32 isa=any
#include "activation_f32.h"

// y[i] = activation `act` of x[i]; x and y: (size), y may be x.
void ES_KERNEL(activation_f32)(const float *x, float *y, int64_t size, int64_t act, float lo, float hi) {
  es_act_row(x, y, size, act, lo, hi);
}
