// edgesparse-kernel: op=reduce dtype=i64 isa=any
#define T int64_t
#define U uint64_t
#define LOWEST INT64_MIN
#define HIGHEST INT64_MAX
#include "reduce_int.h"

// y[o, k] = (join of x[o, i, k] over i) / divisor where finish is 1 (cut towards zero), without division where it is
// 0; x: (outer, n, inner), y: (outer, inner), apart.
void ES_KERNEL(reduce_i64)(const int64_t *x, int64_t *y, int64_t outer, int64_t n, int64_t inner, int64_t x_outer, int64_t kind,
                           int64_t finish, int64_t divisor) {
  reduce(x, y, outer, n, inner, x_outer, kind, finish == 1 ? divisor : 1);
}
