// edgesparse-kernel: op=arg dtype=f32 isa=any
#define T float
#define IS_NAN(v) ((v) != (v))
#include "arg.h"

// y[o, k] = argmax over i of x[o, i, k] (argmin where `least`), the first such i (the last where `last`);
// x: (outer, n, inner) with n > 0, y: (outer, inner).
void ES_KERNEL(arg_f32)(const float *x, int64_t *y, int64_t outer, int64_t n, int64_t inner, int64_t least, int64_t last) {
  arg(x, y, outer, n, inner, least != 0, last != 0);
}
