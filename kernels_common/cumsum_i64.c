// edgesparse-kernel: op=cumsum dtype=i64 isa=any
#define T int64_t
#define A uint64_t
#include "cumsum.h"

// y[o, i, k] = sum of x[o, j, k] over j <= i, over j < i where `exclusive`; over j >= i and j > i where `reverse`.
// x, y: (outer, n, inner); y may be x.
void ES_KERNEL(cumsum_i64)(const int64_t *x, int64_t *y, int64_t outer, int64_t n, int64_t inner, int64_t exclusive,
                           int64_t reverse) {
  cumsum(x, y, outer, n, inner, exclusive, reverse);
}
