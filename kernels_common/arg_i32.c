// edgesparse-kernel: op=arg dtype=i32 isa=any
#define T int32_t
#define IS_NAN(v) ((void)(v), 0)
#include "arg.h"

// y[o, k] = argmax over i of x[o, i, k] (argmin where `least`), the first such i (the last where `last`);
// x: (outer, n, inner) with n > 0, y: (outer, inner).
void ES_KERNEL(arg_i32)(const int32_t *x, int64_t *y, int64_t outer, int64_t n, int64_t inner, int64_t least, int64_t last) {
  arg(x, y, outer, n, inner, least != 0, last != 0);
}
