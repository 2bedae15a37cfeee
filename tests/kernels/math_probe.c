// edgesparse-kernel: op=probe dtype=f32 isa=any
#include "math_f32.h"

#define EACH(kind, f)                                                                                    \
  case kind:                                                                                             \
    for (; i + ES_VL <= size; i += ES_VL) store_vf(y + i, ES_CAT(f, ES_VL, )(load_vf(x + i)));            \
    for (; i < size; i++) store1(y + i, f##1(load1(x + i)));                                              \
    break;

// y[i] = f(x[i]) for f = exp, log, tanh, erf, sigmoid; for test_math.py.
void ES_KERNEL(probe_f32)(const float *x, float *y, int64_t size, int64_t f) {
  int64_t i = 0;
  switch (f) {
    EACH(0, es_exp)
    EACH(1, es_log)
    EACH(2, es_tanh)
    EACH(3, es_erf)
    EACH(4, es_sigmoid)
  }
}
