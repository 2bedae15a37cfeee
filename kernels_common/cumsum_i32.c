// edgesparse-kernel: op=cumsum dtype=i32 isa=any
#define T int32_t
#define A uint32_t
#include "cumsum.h"

// y[o, i, k] = sum of x[o, j, k] over j <= i, over j < i where `exclusive`; over j >= i and j > i where `reverse`.
// x, y: (outer, n, inner); y may be x.
void ES_KERNEL(cumsum_i32)(const int32_t *x, int32_t *y, int64_t outer, int64_t n, int64_t inner, int64_t exclusive,
                           int64_t reverse) {
  cumsum(x, y, outer, n, inner, exclusive, reverse);
}
